"""From a row's number to a prompt, or to why there is none; ahead of the draw where there is a thread for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable
from concurrent.futures import Executor, Future
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from nemo_prorl.data.mixture.stream import Stream
from nemo_prorl.data.prompt import Prompt, Row
from nemo_prorl.data.sources.base import question_key
from nemo_prorl.data.sources.lines import uid_digest
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import DataError

PAUSE_SECONDS = 0.002  # so that who asked for rows ahead, and has what he needs, goes on first

Objection = Callable[[Prompt], str | None]  # why no response to a prompt can be judged; None: it can
Fault = Literal["excluded", "too_long", "unusable"]


@dataclass(frozen=True)
class Prepared:
    """A row as a prompt, and what keeps it from being drawn. Held-out questions have no prompt: it isn't needed.

    `uid` is the digest of the row's own.
    """

    uid: int
    prompt: Prompt | None
    fault: Fault | None = None
    reason: str = ""


class Preparation:
    """Makes prompts of rows, and judges whether they may be drawn. The same row gives the same in any thread."""

    def __init__(
        self,
        tokenizer: Tokenizer,
        *,
        max_prompt_tokens: int,
        exclude: Collection[str] = frozenset(),
        objection: Objection | None = None,
    ) -> None:
        self._tokenizer, self._max_prompt_tokens = tokenizer, max_prompt_tokens
        self._exclude, self._objection = frozenset(exclude), objection

    def __call__(self, row: Row, stream: Stream, place: int) -> Prepared:
        """`place`: the row's own in the stream. Whether a row can be judged is asked once, of finite streams' alone."""
        uid = uid_digest(row.uid)
        if question_key(row.messages) in self._exclude:
            return Prepared(uid, None, "excluded")
        prompt = as_prompt(row, self._tokenizer)
        if len(prompt.token_ids) > self._max_prompt_tokens:
            return Prepared(uid, prompt, "too_long")
        if self._objection is not None and not stream.is_accepted(place):
            if (reason := self._objection(prompt)) is not None:
                return Prepared(uid, prompt, "unusable", reason)
            stream.accept(place)
        return Prepared(uid, prompt)


class ReadAhead:
    """Keeps prompts of the positions that come next, made by `executor` while nobody waits.

    It changes when a row is read and nothing else: what isn't there when it is needed is made then, and a row that
    fails fails when it is drawn. Without an executor nothing is read ahead.
    """

    def __init__(self, preparation: Preparation, executor: Executor | None) -> None:
        self._preparation, self._executor = preparation, executor
        self._ready: dict[tuple[str, int], tuple[int, Prepared]] = {}
        self._wanted: list[tuple[Stream, int]] = []
        self._job: Future[None] | None = None

    def place_at(self, stream: Stream, position: int) -> int:
        """As the stream says; computed before, if it was read ahead."""
        ready = self._ready.get((stream.name, position))
        return stream.place_at(position) if ready is None else ready[0]

    def take(self, stream: Stream, position: int, place: int) -> Prepared:
        """What becomes of the row at `position`, whose place there is known."""
        ready = self._ready.get((stream.name, position))
        return self._made(stream, place) if ready is None else ready[1]

    def forget_before(self, streams: Iterable[Stream]) -> None:
        """Drop what lies before the streams' present positions: nobody goes back there any more."""
        positions = {stream.name: stream.position for stream in streams}
        self._wanted = []  # the job, if one still runs, ends
        for key in list(self._ready):
            if key[1] < positions[key[0]]:
                self._ready.pop(key, None)

    def want(self, positions: Iterable[tuple[Stream, int]]) -> None:
        """Have rows at these positions made, as far as their sources allow it."""
        if self._executor is None:
            return
        self._wanted = [item for item in positions if item[0].reads_ahead]
        if self._wanted:
            with suppress(RuntimeError):  # the executor is shut down: the run is ending
                self._job = self._executor.submit(self._make, self._wanted)

    def wait(self) -> None:
        """Until everything that was wanted is there."""
        if self._job is not None:
            self._job.result()

    def _make(self, wanted: list[tuple[Stream, int]]) -> None:
        time.sleep(PAUSE_SECONDS)
        for stream, position in wanted:
            if self._wanted is not wanted:
                return
            key = (stream.name, position)
            if key in self._ready:
                continue
            with suppress(Exception):  # it will be made again, and fail, where somebody hears of it
                place = stream.place_at(position)
                self._ready[key] = (place, self._made(stream, place))

    def _made(self, stream: Stream, place: int) -> Prepared:
        return self._preparation(stream.source.row(stream.number_of(place)), stream, place)


def as_prompt(row: Row, tokenizer: Tokenizer) -> Prompt:
    """A row with its tokens."""
    token_ids = tuple(tokenizer.render(row.messages))
    return Prompt(
        uid=row.uid,
        domain=row.domain,
        task=row.task,
        source=row.source,
        messages=tuple(row.messages),
        token_ids=token_ids,
        verifier=row.verifier,
        reference=row.reference,
        metadata=row.metadata,
        opens_reasoning=tokenizer.opens_reasoning(token_ids),
    )


def too_long(prompt: Prompt, limit: int, limits: str = "data") -> DataError:
    return DataError(
        f"prompt {prompt.uid!r} of source {prompt.source!r} has {len(prompt.token_ids)} tokens, over "
        f"{limits}.max_prompt_tokens={limit}; raise it, or set {limits}.long_prompts=skip to leave such prompts out"
    )
