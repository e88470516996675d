"""The draw: which problem comes next, the same on every rank, and resumed exactly where it stopped.

Where a draw comes from depends on (seed, number of the draw) alone, and which row on the stream's position. So what
must be saved are a few counters, and what has been seen of each problem.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from itertools import accumulate
from typing import Any, Literal, NamedTuple

from nemo_prorl.data.blend import AS_THE_DATA_SAY, Blend
from nemo_prorl.data.mixture.difficulty import Avoidance, PassRates
from nemo_prorl.data.mixture.preparation import Objection, Preparation, Prepared, ReadAhead, too_long
from nemo_prorl.data.mixture.shares import Weighting, shares_in, streams_of
from nemo_prorl.data.mixture.stream import Stream
from nemo_prorl.data.permutation import random_bits
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sources.base import Source
from nemo_prorl.data.sources.lines import uid_digest
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import DataError

log = logging.getLogger(__name__)

REPEATS_IN_A_ROW = 200  # prompts to pass over, because a draw has them already, before one is repeated after all
AVOIDED_IN_A_ROW = 10_000  # problems to pass over for their pass rates before one is drawn after all
AHEAD = 1.25  # positions to read ahead, as a multiple of those that the last draw used
COUNTS = ("excluded", "too_long", "unusable", "repeated", "solved", "hopeless", "outside_band", "revisited")


class _Cursor(NamedTuple):
    """Where the mixture stands: the number of draws so far, the streams' positions, and what has been counted."""

    draws: int
    positions: tuple[int, ...]
    counts: tuple[int, ...]


class Mixture:
    """Draws prompts from `sources`, given by name as (source, weight).

    `weighting`: how weights become shares. `max_epochs`: how often a source is walked at most, by its name; the others
    take its share then. `exclude`: keys of questions that must never be drawn, see `question_keys`. `long_prompts` says
    what happens to a prompt over `max_prompt_tokens`: an error, or it is skipped and counted. A row of a finite source
    that there is an `objection` to is named, left out and counted; every rank must hear the same. `avoidance`: which
    problems are passed over because of what was seen of them. `executor` reads rows ahead, in one thread.

    Raises:
        DataError: there is no source, or one without rows.
    """

    def __init__(
        self,
        sources: Mapping[str, tuple[Source, float]],
        tokenizer: Tokenizer,
        *,
        seed: int,
        max_prompt_tokens: int,
        long_prompts: Literal["error", "skip"] = "error",
        exclude: Collection[str] = frozenset(),
        objection: Objection | None = None,
        weighting: Weighting | None = None,
        max_epochs: Mapping[str, int] | None = None,
        avoidance: Avoidance | None = None,
        executor: Executor | None = None,
    ) -> None:
        self._seed, self._max_prompt_tokens, self._long_prompts = seed, max_prompt_tokens, long_prompts
        self._avoidance = avoidance or Avoidance()
        self._streams = streams_of(sources, seed, weighting or Weighting())
        for stream in self._streams:
            stream.max_epochs = (max_epochs or {}).get(stream.source_name)
        preparation = Preparation(tokenizer, max_prompt_tokens=max_prompt_tokens, exclude=exclude, objection=objection)
        self.ahead = ReadAhead(preparation, executor)
        self._rates = PassRates()
        self._draws = 0
        self._counts = dict.fromkeys(COUNTS, 0)
        self._drawn: list[_Cursor] = []  # before each prompt of the last draw

    def draw(self, n: int, blend: Blend = AS_THE_DATA_SAY, *, avoid: Collection[str] = frozenset()) -> list[Prompt]:
        """The next `n` prompts, with different uids as far as the sources have them; also none whose uid is in `avoid`.

        Raises:
            DataError: weights for what isn't there, a prompt that is too long, or no prompt that may be used.
        """
        self.ahead.forget_before(self._streams)
        self._drawn, began = [], [stream.position for stream in self._streams]
        taken, exhausted = set(avoid), set[str]()
        lots = _Lots(self._streams, shares_in(blend, self._streams))
        prompts: list[Prompt] = []
        while len(prompts) < n:
            cursor = self._cursor()
            prompt = None
            while prompt is None:
                prompt = self._next(lots.draw(self._next_point()), blend, taken, exhausted)
            self._drawn.append(cursor)
            taken.add(prompt.uid)
            prompts.append(prompt)
        used = [stream.position - start for stream, start in zip(self._streams, began, strict=True)]
        self.ahead.want(_in_turns(self._streams, used))
        return prompts

    def put_back(self, n: int) -> None:
        """Undo the last `n` draws of the last `draw`: they come again, the same, as the next ones."""
        if not 0 < n <= len(self._drawn):
            raise ValueError(f"put_back: {n} prompts, but the last draw has {len(self._drawn)} that can be put back")
        cursor = self._drawn[-n]
        del self._drawn[-n:]
        self._draws, self._counts = cursor.draws, dict(zip(COUNTS, cursor.counts, strict=True))
        for stream, position in zip(self._streams, cursor.positions, strict=True):
            stream.position = position

    def observe(self, groups: Iterable[tuple[str, Sequence[float]]]) -> None:
        """What came of problems that were drawn: their uids and rewards; on every rank the same, in the same order."""
        for uid, rewards in groups:
            if rewards:
                self._rates.add(uid_digest(uid), rewards, self._avoidance.memory)

    def metrics(self) -> dict[str, float]:
        """Since the run began: prompts left out or repeated, epochs of finite sources, what is known of problems."""
        counts = {f"data/{name}_prompts": float(count) for name, count in self._counts.items()}
        epochs = {f"data/epochs/{s.name}": s.epochs for s in self._streams if s.epochs is not None}
        return counts | epochs | self._rates.metrics()

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs to draw the same prompts from here on. JSON types only."""
        streams = {stream.name: {"position": stream.position, "rows": stream.size} for stream in self._streams}
        state = {"seed": self._seed, "draws": self._draws, "streams": streams, "counts": dict(self._counts)}
        return {**state, "pass_rates": self._rates.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a saved state. A source that is new starts at its beginning; one that is gone is forgotten.

        Raises:
            DataError: another seed, or a source whose number of rows has changed: the order would be another one.
            CheckpointError: what was seen of problems can't be read.
        """
        if state["seed"] != self._seed:
            raise DataError(
                f"the saved data order belongs to seed {state['seed']}, this run has run.seed={self._seed}; "
                "resume with the old seed, or start a run in another folder"
            )
        for stream in self._streams:
            if stream.name not in (saved := state["streams"]):
                log.warning("data source %s is new since the checkpoint: it starts at its first row", stream.name)
                continue
            if saved[stream.name]["rows"] != stream.size:
                raise DataError(
                    f"data source {stream.name} had {saved[stream.name]['rows']} rows when the checkpoint was saved, "
                    f"now {stream.size}; restore the old file, or give the new one another name among data.sources"
                )
            stream.position = saved[stream.name]["position"]
        for name in sorted(set(state["streams"]) - {stream.name for stream in self._streams}):
            log.warning("data source %s of the checkpoint is no longer among data.sources", name)
        self._draws, self._counts = state["draws"], self._counts | dict(state["counts"])
        if "pass_rates" in state:
            self._rates.load_state_dict(state["pass_rates"])
        self._drawn = []

    def _cursor(self) -> _Cursor:
        return _Cursor(self._draws, tuple(stream.position for stream in self._streams), tuple(self._counts.values()))

    def _next_point(self) -> float:
        """What decides on the stream of the next draw, in [0, 1)."""
        point = random_bits(f"{self._seed}/draw/{self._draws}") / 2**64
        self._draws += 1
        return point

    def _next(self, stream: Stream, blend: Blend, taken: Collection[str], exhausted: set[str]) -> Prompt | None:
        """The stream's next prompt that isn't taken; once it has none, it joins `exhausted` and repeats itself.

        None when it has come to the end of its last epoch.
        """
        in_vain = repeats = 0
        repeats_allowed = min(REPEATS_IN_A_ROW, stream.patience)
        for prepared in self._worth_a_look(stream, blend):
            if prepared is None:  # passed over, but it will be drawn again
                in_vain = 0
                continue
            prompt = self._usable(prepared)
            if prompt is not None and prompt.uid not in taken:
                return prompt
            in_vain += 1
            if prompt is not None:
                repeats += 1
                if stream.name in exhausted or repeats >= repeats_allowed or in_vain >= stream.patience:
                    exhausted.add(stream.name)
                    self._counts["repeated"] += 1
                    return prompt
            elif not repeats and in_vain >= stream.patience:
                raise self._nothing_left(stream, in_vain)
        return None

    def _worth_a_look(self, stream: Stream, blend: Blend) -> Iterator[Prepared | None]:
        """The stream's rows from here on; None for one that its pass rate speaks against."""
        avoided = 0
        while not stream.is_over:
            position, stream.position = stream.position, stream.position + 1
            place = self.ahead.place_at(stream, position)
            digest = stream.uid_digest_of(place)
            prepared = None
            if digest is None:
                prepared = self.ahead.take(stream, position, place)
                digest = prepared.uid
                if prepared.fault is None:  # what can't be drawn any more is read at each turn, and nothing to wait for
                    stream.remember_uid(place, digest)
            may_be_drawn = prepared is None or prepared.fault is None
            if may_be_drawn and avoided < AVOIDED_IN_A_ROW and self._is_avoided(stream, position, digest, blend):
                avoided += 1
                yield None
                continue
            avoided = 0
            yield prepared or self.ahead.take(stream, position, place)

    def _is_avoided(self, stream: Stream, position: int, digest: int, blend: Blend) -> bool:
        reason = self._avoidance.reason(self._rates.of(digest), blend.pass_rates)
        if reason is None:
            return False
        chance = random_bits(f"{self._seed}/revisit/{stream.name}/{position}") / 2**64
        revisited = chance < self._avoidance.revisit_probability
        self._counts["revisited" if revisited else reason] += 1
        return not revisited

    def _usable(self, prepared: Prepared) -> Prompt | None:
        """The prompt, or None when it is held out, too long, or not to be judged."""
        prompt, fault = prepared.prompt, prepared.fault
        if fault is None:
            return prompt
        if fault == "too_long" and self._long_prompts == "error" and prompt is not None:
            raise too_long(prompt, self._max_prompt_tokens)
        if fault == "unusable" and prompt is not None:
            log.warning("prompt %s of %s is left out: %s", prompt.uid, prompt.source, prepared.reason)
        self._counts[fault] += 1
        return None

    def _nothing_left(self, stream: Stream, unusable: int) -> DataError:
        return DataError(
            f"data source {stream.name}: none of {unusable} rows on end may be drawn: held out for validation, "
            f"not to be judged, or over data.max_prompt_tokens={self._max_prompt_tokens}; add or repair problems"
        )


class _Lots:
    """The streams that are drawn from, by share. One that is over leaves its share to the others."""

    def __init__(self, streams: Sequence[Stream], shares: Sequence[float]) -> None:
        self._all = [(stream, share) for stream, share in zip(streams, shares, strict=True) if share > 0]
        self._lay_out()

    def draw(self, point: float) -> Stream:
        """The stream at `point` of all shares, from 0 to 1.

        Raises:
            DataError: all streams are over.
        """
        while True:
            stream = self._streams[bisect_left(self._edges, point * self._edges[-1])]
            if not stream.is_over:
                return stream
            self._lay_out()

    def _lay_out(self) -> None:
        left = [(stream, share) for stream, share in self._all if not stream.is_over]
        if not left:
            raise DataError(
                "every source that this stage draws from has been walked max_epochs times; allow more, add problems, "
                "or end the recipe earlier"
            )
        self._streams = [stream for stream, _ in left]
        self._edges = list(accumulate(share for _, share in left))


def _in_turns(streams: Sequence[Stream], used: Sequence[int]) -> list[tuple[Stream, int]]:
    """The positions to read ahead, a little more than the last draw used, of all streams in turns."""
    ahead = [(stream, int(count * AHEAD) + 1) for stream, count in zip(streams, used, strict=True) if count]
    most = max((count for _, count in ahead), default=0)
    return [(stream, stream.position + step) for step in range(most) for stream, count in ahead if step < count]
