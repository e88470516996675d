"""A corpus behind an HTTP API as infini-gram's (api.infini-gram.io): how often does an index of trillions of tokens
have a text? A door to httpx2.

The texts of whole words are asked for; how they fall into the index's own tokens is the server's business. A span that
begins in the midst of a text is looked up as one at a word's beginning.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any

import httpx2
import numpy as np
from numpy.typing import NDArray

from nemo_prorl.analysis.creativity import Words, dj_search
from nemo_prorl.errors import DataError

log = logging.getLogger(__name__)

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 0.5
PASSING = (429, 500, 502, 503, 504)


class InfiniGramCorpus:
    """Asks `address` about the index `index`, one question at a time; answers are kept. To be used with `with`.

    Raises:
        DataError: the server refuses, can't be reached after several attempts, or answers otherwise than it should.
    """

    def __init__(
        self, address: str, index: str, *, timeout_seconds: float = 30.0, pause_seconds: float = FIRST_PAUSE_SECONDS
    ) -> None:
        self._address, self._index, self._pause = address, index, pause_seconds
        self._client = httpx2.Client(timeout=timeout_seconds)
        self._known: dict[str, int] = {}
        self.asked = 0

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
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(self._pause * 2 ** (attempt - 1))
            try:
                self.asked += 1
                answer = self._client.post(self._address, json=question)
            except httpx2.TransportError as error:
                problem = f"{type(error).__name__}: {error}"
                continue
            if answer.status_code in PASSING:
                problem = f"status {answer.status_code}"
                continue
            return self._count_in(answer)
        raise DataError(
            f"{self._address} gave no answer in {ATTEMPTS} attempts ({problem}); is it reachable from here?"
        )

    def _count_in(self, answer: httpx2.Response) -> int:
        try:
            said: Any = answer.json()
        except ValueError:
            said = None
        if isinstance(said, dict) and "error" in said:
            raise DataError(f"{self._address} refuses: {said['error']} (index {self._index!r})")
        if answer.status_code != 200 or not isinstance(said, dict) or not isinstance(said.get("count"), int):
            raise DataError(
                f"{self._address} answers with status {answer.status_code}, {answer.text[:80]!r}; expected a JSON "
                "object with 'count', as infini-gram's API gives"
            )
        return int(said["count"])

    def __enter__(self) -> InfiniGramCorpus:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._client.close()
