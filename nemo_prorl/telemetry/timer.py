"""How long the phases of a step take."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager


class Timer:
    """Wall-clock seconds by phase, added up until drained. Phases may lie inside each other.

    >>> timer = Timer()
    >>> with timer("rollout"):
    ...     pass
    >>> list(timer.drain())
    ['time/rollout_seconds']
    """

    def __init__(self) -> None:
        self._seconds: dict[str, float] = {}

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the time spent inside for `phase`, also when an error ends it."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - start

    def drain(self) -> dict[str, float]:
        """{"time/<phase>_seconds": ...} since the last drain."""
        drained = {f"time/{phase}_seconds": seconds for phase, seconds in self._seconds.items()}
        self._seconds = {}
        return drained
