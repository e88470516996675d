"""What all ranks know of a round's groups while they still sample it, so that they can stop as soon as enough teach."""

from __future__ import annotations

from enum import IntEnum

from nemo_prorl.world import Exchange, World


class State(IntEnum):
    """Of a draw. What is known is larger than what isn't, so that ranks put together what they know by a maximum."""

    UNKNOWN = 0
    DULL = 1
    TEACHES = 2


class Board:
    """The state of each of a round's `draws`, told and heard in the background: no rank waits for another's sampling.

    It is over once `wanted` draws teach of which all those before are known, too; or all are known; or a rank gives
    up. What is needed are the draws up to the last wanted one, whoever finishes first: long answers have the same
    chance as short ones, and the same groups are kept whatever the ranks, their number and their speed. `wanted` None:
    the whole round.

    Exchanges follow one another, each begun by a rank once it has the result of the one before. So all ranks take part
    in the same ones and agree at which it is over; `finish` must come on every rank.
    """

    def __init__(self, world: World, draws: int, wanted: int | None) -> None:
        self._world, self._wanted = world, wanted
        self._own = [int(State.UNKNOWN)] * draws
        self._gives_up = False
        self._known = list(self._own)
        self._somebody_gives_up = False
        self._under_way: Exchange | None = None

    def tell(self, draw: int, teaches: bool) -> None:
        """What this rank has found out about one of its draws."""
        self._own[draw] = State.TEACHES if teaches else State.DULL

    def is_over(self) -> bool:
        """Whether sampling may end, as far as one knows; asks and tells, and waits for nobody."""
        if not self._is_over():
            if self._under_way is None:
                self._begin()
            if self._under_way is not None and self._under_way.is_done():
                self._hear()
        return self._is_over()

    def finish(self, *, gives_up: bool = False) -> None:
        """This rank has told all it will ever know; returns when it is over for all ranks, as it is for the others."""
        self._gives_up = self._gives_up or gives_up
        while not self._is_over():
            if self._under_way is None:
                self._begin()
            self._hear()

    @property
    def needed(self) -> int:
        """How many of the first draws are needed; all, while it isn't known better."""
        teaching = 0
        for draw, state in enumerate(self._known):
            if state == State.UNKNOWN or self._wanted is None:
                break
            teaching += state == State.TEACHES
            if teaching == self._wanted:
                return draw + 1
        return len(self._known)

    def _is_over(self) -> bool:
        if self._under_way is not None:
            return False
        known = State.UNKNOWN not in self._known
        return self._somebody_gives_up or known or self.needed < len(self._known)

    def _begin(self) -> None:
        self._under_way = self._world.begin_maximum([*self._own, int(self._gives_up)])

    def _hear(self) -> None:
        assert self._under_way is not None
        *self._known, gives_up = self._under_way.result()
        self._somebody_gives_up, self._under_way = bool(gives_up), None
