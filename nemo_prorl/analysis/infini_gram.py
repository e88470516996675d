"""A corpus behind an HTTP API as infini-gram's (api.infini-gram.io): how often does an index of trillions of tokens
have a text?

The texts of whole words are asked for; how they fall into the index's own tokens is the server's business. A span that
begins in the midst of a text is looked up as one at a word's beginning.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.analysis.creativity import Words, dj_search
from nemo_prorl.errors import DataError
from nemo_prorl.json_api import JsonApi, RefusedError, UnansweredError, UnreadableError

ATTEMPTS = 6
SECONDS_TO_ANSWER = 30.0
FIRST_WAIT_SECONDS = 0.5


class InfiniGramCorpus:
    """Asks `address` about the index `index`, one question at a time; answers are kept. To be used with `with`.

    Raises:
        DataError: the server refuses, or gives no answer of the right form in several attempts.
        ConfigError: there is no such API at the address.
    """

    def __init__(self, address: str, index: str, *, first_wait_seconds: float = FIRST_WAIT_SECONDS) -> None:
        self._address, self._index = address, index
        self._api = JsonApi(
            address,
            api_key_variable=None,
            timeout_seconds=SECONDS_TO_ANSWER,
            attempts=ATTEMPTS,
            first_wait_seconds=first_wait_seconds,
            who="infini-gram's API",
            advice="--infini-gram-url",
        )
        self._runner = asyncio.Runner()
        self._known: dict[str, int] = {}

    def longest_matches(self, words: Words, lengths: Sequence[int]) -> NDArray[np.int64]:
        """See `creativity.Corpus`."""
        return dj_search(words, lengths, lambda text: self.count(text) > 0)

    def count(self, text: str) -> int:
        """How often the index has a text."""
        if text not in self._known:
            self._known[text] = self._ask(text)
        return self._known[text]

    def _ask(self, text: str) -> int:
        question = {"index": self._index, "query_type": "count", "query": text}
        try:
            return self._runner.run(self._api.post("", question, _count))
        except RefusedError as error:
            raise DataError(f"{self._address} refuses: {error} (index {self._index!r})") from error
        except UnansweredError as error:
            raise DataError(
                f"{self._address} gives no answer that can be used: {error}. Is it reachable from here, and an API as "
                "infini-gram's?"
            ) from error

    def __enter__(self) -> InfiniGramCorpus:
        self._runner.run(self._api.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._runner:
            self._runner.run(self._api.__aexit__(kind, error, traceback))


def _count(answer: Any) -> int:
    if isinstance(answer, dict) and "error" in answer:
        raise RefusedError(str(answer["error"]))
    if not isinstance(answer, dict) or not isinstance(answer.get("count"), int):
        raise UnreadableError(f"an answer without 'count', {str(answer)[:80]!r}")
    return int(answer["count"])
