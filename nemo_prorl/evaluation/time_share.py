"""How much of a run's wall time validation takes, over all of the run's lives."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class TimeShare:
    """Whether there is room for another validation, which is expected to take as long as the last one did.

    `most`: validation's share of all time; None: there always is. The times measured so far travel with the checkpoint,
    so that a run goes on as its predecessor would have; but measured they are, and with a limit the clock of one
    machine decides where another's would have decided differently.
    """

    def __init__(self, most: float | None, clock: Callable[[], float] = time.perf_counter) -> None:
        self.most, self._clock = most, clock
        self._spent = self._last = self._before = 0.0
        self._start = clock()

    @contextmanager
    def spending(self) -> Iterator[None]:
        """Inside, a validation is run."""
        start = self._clock()
        yield
        self._last = self._clock() - start
        self._spent += self._last

    @property
    def elapsed_seconds(self) -> float:
        return self._before + self._clock() - self._start

    @property
    def share(self) -> float:
        """Of the time until now; 0.0 of none."""
        return self._spent / elapsed if (elapsed := self.elapsed_seconds) else 0.0

    def has_room(self) -> bool:
        if self.most is None:
            return True
        return self._spent + self._last <= self.most * (self.elapsed_seconds + self._last)

    def state_dict(self) -> dict[str, float]:
        return {"spent_seconds": self._spent, "last_seconds": self._last, "elapsed_seconds": self.elapsed_seconds}

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        self._spent, self._last = state["spent_seconds"], state["last_seconds"]
        self._before, self._start = state["elapsed_seconds"], self._clock()
