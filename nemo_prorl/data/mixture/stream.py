"""One domain's rows of one source, walked for ever."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.data.permutation import permuted
from nemo_prorl.data.sources.base import PATIENCE, Source


@dataclass(eq=False)
class Stream:
    """One domain's rows of one source. `position` counts through all epochs; it is all that a resumed run must know.

    A finite source is walked in another shuffled order each epoch, an endless one by number.
    """

    source_name: str
    source: Source
    domain: str
    numbers: Sequence[int] | None  # None: every number, of a source that never ends
    seed: int
    part: float  # of its source's draws
    share: float  # of all draws, when a stage doesn't weigh
    max_epochs: int | None = None
    position: int = 0
    name: str = field(init=False)
    size: int | None = field(init=False)
    _uid_digests: NDArray[np.uint64] = field(init=False, repr=False)  # of rows seen so far, 0 for others
    _accepted: bytearray = field(init=False, repr=False)  # 1 for rows that can be judged, as far as asked

    def __post_init__(self) -> None:
        self.name = f"{self.source_name}/{self.domain}"
        self.size = None if self.numbers is None else len(self.numbers)
        self._uid_digests, self._accepted = np.zeros(self.size or 0, np.uint64), bytearray(self.size or 0)

    @property
    def epochs(self) -> float | None:
        """How often its rows have been walked; None for those that never end."""
        return self.position / self.size if self.size else None

    @property
    def is_over(self) -> bool:
        """Whether its rows have been walked as often as they may be."""
        return self.max_epochs is not None and self.size is not None and self.position >= self.max_epochs * self.size

    @property
    def reads_ahead(self) -> bool:
        """Whether its rows may be read in another thread."""
        return bool(getattr(self.source, "reads_ahead", False))

    @property
    def patience(self) -> int:
        """Rows to look at in vain before we say that none can be used.

        A single usable row can come first in one epoch and last in the next, with nearly two epochs between.
        """
        return PATIENCE if self.size is None else 2 * self.size

    def place_at(self, position: int) -> int:
        """Which of its rows stands at `position`: its place among `numbers`, or the number itself of an endless one."""
        if self.size is None:
            return position
        epoch, place = divmod(position, self.size)
        return permuted(place, self.size, f"{self.seed}/{self.name}/{epoch}")

    def number_of(self, place: int) -> int:
        """The row's number in its source."""
        return place if self.numbers is None else self.numbers[place]

    def uid_digest_of(self, place: int) -> int | None:
        """The digest of a row's uid without reading it; None before it was read for the first time."""
        return None if self.numbers is None else int(self._uid_digests[place]) or None

    def remember_uid(self, place: int, digest: int) -> None:
        if self.numbers is not None:
            self._uid_digests[place] = digest

    def is_accepted(self, place: int) -> bool:
        """Whether it is known that answers to a row can be judged; an endless source's rows always can."""
        return self.numbers is None or bool(self._accepted[place])

    def accept(self, place: int) -> None:
        self._accepted[place] = 1
