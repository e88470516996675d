"""Wall seconds, CPU seconds and memory of a process and its children. Needs nothing but Python and, on Linux, /proc.

CPU seconds say more than wall seconds where other work shares the machine; a second of two busy threads counts twice.
"""

from __future__ import annotations

import ctypes
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class Cost:
    """What a stretch of work took: seconds on the wall, and of processors by this process and its children."""

    wall_seconds: float
    cpu_seconds: float

    def __add__(self, other: Cost) -> Cost:
        return Cost(self.wall_seconds + other.wall_seconds, self.cpu_seconds + other.cpu_seconds)

    def __sub__(self, other: Cost) -> Cost:
        return Cost(self.wall_seconds - other.wall_seconds, self.cpu_seconds - other.cpu_seconds)


def now(root: int | None = None) -> Cost:
    """A reading of both clocks; the cost of what lies between two readings is their difference.

    Processors count for this process and its descendants, or for process `root` and its. Time of other processes than
    this one is read in steps of 10 ms.
    """
    own = time.process_time() if root is None else _cpu_seconds_of(root)
    return Cost(time.perf_counter(), own + sum(map(_cpu_seconds_of, descendants(root or os.getpid()))))


def descendants(pid: int) -> list[int]:
    """Live ones."""
    found, waiting = [], [pid]
    while waiting:
        for tasks in Path(f"/proc/{waiting.pop()}/task").glob("*/children"):
            try:
                born = [int(word) for word in tasks.read_text().split()]
            except OSError:  # gone since
                continue
            found += born
            waiting += born
    return found


def peak_bytes() -> int:
    """The largest resident memory of this process since it began, or since `forget_peak`."""
    return _status("VmHWM")


def resident_bytes() -> int:
    """Resident memory of this process now."""
    return _status("VmRSS")


def resident_bytes_of_children() -> int:
    """Resident memory of all descendants now; pages that they share with others count whole."""
    return sum(_status("VmRSS", child) for child in descendants(os.getpid()))


def forget_peak() -> None:
    """From here on, `peak_bytes` is that of what follows."""
    Path("/proc/self/clear_refs").write_text("5")


def give_back_freed() -> None:
    """Have the allocator return to the system what it keeps of freed memory, so that using it again counts."""
    ctypes.CDLL(None).malloc_trim(0)


def spread(values: Sequence[float]) -> float:
    """The distance between the quartiles, as a share of the median.

    >>> spread([1.0, 2.0, 3.0, 4.0, 5.0])
    0.6666666666666666
    """
    low, middle, high = quantiles(values, n=4, method="inclusive") if len(values) > 1 else (0.0, values[0], 0.0)
    return (high - low) / middle


def _status(field: str, pid: int | str = "self") -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:  # gone since
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(field)), 0)


def _cpu_seconds_of(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:  # gone since
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_SECOND
