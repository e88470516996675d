"""How long the phases of a step take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class Timer:
    """Wall-clock seconds by phase, added up until drained. Phases may lie inside each other.

    `on_phase` is told whenever another phase is the innermost one; outside of all that is `between`. A phase that an
    error ends stays told until another begins, so that it can be said where the error came from.

    >>> timer = Timer()
    >>> with timer("rollout"):
    ...     pass
    >>> list(timer.drain())
    ['time/rollout_seconds']
    """

    def __init__(self, on_phase: Callable[[str], None] | None = None, *, between: str = "between steps") -> None:
        self._seconds: dict[str, float] = {}
        self._on_phase, self._open = on_phase, [between]

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        """Count the time spent inside for `phase`, also when an error ends it."""
        start = time.perf_counter()
        self._open.append(phase)
        self._tell()
        try:
            yield
        except BaseException:
            self._end(phase, start)
            raise
        self._end(phase, start)
        self._tell()

    def _end(self, phase: str, start: float) -> None:
        self._open.pop()
        self._seconds[phase] = self._seconds.get(phase, 0.0) + time.perf_counter() - start

    def _tell(self) -> None:
        if self._on_phase is not None:
            self._on_phase(self._open[-1])

    def drain(self) -> dict[str, float]:
        """{"time/<phase>_seconds": ...} since the last drain."""
        drained = {f"time/{phase}_seconds": seconds for phase, seconds in self._seconds.items()}
        self._seconds = {}
        return drained
