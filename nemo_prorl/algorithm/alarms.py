"""When a metric asks for a human: pure functions over its recent values, and what to do then.

A rule reads a metric's values, oldest first, one a step, and gives what it looked at and the limit of that; None while
there are too few. `is_on` turns readings into an alarm that is raised once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple, Protocol

MARGIN = 0.1
"""An alarm that is on goes off once the reading is this share of the limit inside of it: on the brink it rings once."""

FEWEST_BEFORE = 10
"""Values that a usual level is taken from, at least."""


class Reading(NamedTuple):
    """What a rule looked at, and the limit that it must not be `above` (or, if not, below)."""

    value: float
    limit: float
    above: bool

    @property
    def excess(self) -> float:
        """How far beyond the limit; negative inside."""
        return self.value - self.limit if self.above else self.limit - self.value


class Rule(Protocol):
    @property
    def window(self) -> int:
        """How many of the latest values it looks at."""
        ...

    def read(self, values: Sequence[float]) -> Reading | None: ...


@dataclass(frozen=True)
class Level:
    """The mean of the last `steps` values must stay below `limit`, or above it."""

    limit: float
    steps: int
    above: bool = True

    @property
    def window(self) -> int:
        return self.steps

    def read(self, values: Sequence[float]) -> Reading | None:
        if len(values) < self.steps:
            return None
        return Reading(fmean(values[-self.steps :]), self.limit, self.above)


@dataclass(frozen=True)
class Rise:
    """The mean of the last `steps` values must not be above `times` the median of up to `before_steps` before them.

    Below `at_least` nothing counts as a rise: a multiple of next to nothing is next to nothing.
    """

    times: float
    steps: int
    before_steps: int
    at_least: float = 0.0

    @property
    def window(self) -> int:
        return self.steps + self.before_steps

    def read(self, values: Sequence[float]) -> Reading | None:
        before = values[-self.window : -self.steps]
        if len(before) < min(FEWEST_BEFORE, self.before_steps):
            return None
        return Reading(fmean(values[-self.steps :]), max(self.times * median(before), self.at_least), above=True)


@dataclass(frozen=True)
class Stuck:
    """The mean of the last `steps` values must be more than that of the `steps` before them: by `gain`, or as much as
    is left up to `ceiling`.
    """

    gain: float
    steps: int
    ceiling: float = 1.0

    @property
    def window(self) -> int:
        return 2 * self.steps

    def read(self, values: Sequence[float]) -> Reading | None:
        if len(values) < self.window:
            return None
        now, before = fmean(values[-self.steps :]), fmean(values[-self.window : -self.steps])
        return Reading(now - before, min(self.gain, self.ceiling - before), above=False)


@dataclass(frozen=True)
class Alarm:
    """A rule on one metric under a name, with advice. `since_reset`: values from before a reset aren't looked at."""

    name: str
    metric: str
    rule: Rule
    advice: str
    since_reset: bool = False


def is_on(reading: Reading | None, was_on: bool) -> bool:
    """Whether an alarm is on after `reading`; without one it stays as it was."""
    if reading is None:
        return was_on
    return reading.excess > (-MARGIN * abs(reading.limit) if was_on else 0.0)
