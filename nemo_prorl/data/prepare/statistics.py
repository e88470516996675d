"""What is in some problems: counts, lengths, samples; in one pass and little memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heappush, heappushpop
from math import ceil, log2

from nemo_prorl.data.prompt import Row
from nemo_prorl.data.sources.base import digest

# Lengths are counted in steps of a fourth of a doubling: 16 steps from 64 to 1024.
STEPS_PER_DOUBLING = 4


@dataclass
class Lengths:
    """A histogram over logarithmic steps, and the exact count, sum and largest length."""

    counts: Counter[int] = field(default_factory=Counter)
    total: int = 0
    count: int = 0
    largest: int = 0

    def add(self, length: int) -> None:
        self.counts[ceil(STEPS_PER_DOUBLING * log2(max(length, 1)))] += 1
        self.total, self.count, self.largest = self.total + length, self.count + 1, max(self.largest, length)

    @property
    def mean(self) -> float:
        return self.total / self.count if self.count else 0.0

    def quantile(self, share: float) -> int:
        """A length that at least `share` of all stay within, to a fourth of a doubling."""
        left = share * self.count
        for step in sorted(self.counts):
            left -= self.counts[step]
            if left <= 0:
                return min(upper_end(step), self.largest)
        return self.largest


def upper_end(step: int) -> int:
    """The largest length of a step of the histogram.

    >>> upper_end(0), upper_end(4), upper_end(40)
    (1, 2, 1024)
    """
    return int(2 ** (step / STEPS_PER_DOUBLING))


@dataclass
class Sample:
    """So many rows of a stream, each as likely as any other and the same each time: those of the smallest keys."""

    size: int
    _heap: list[tuple[int, int, Row]] = field(default_factory=list)
    _seen: int = 0

    def add(self, row: Row) -> None:
        self._seen += 1
        entry = (-int(digest(row.uid), 16), self._seen, row)
        if len(self._heap) < self.size:
            heappush(self._heap, entry)
        else:
            heappushpop(self._heap, entry)

    @property
    def rows(self) -> list[Row]:
        return [row for _, _, row in sorted(self._heap, key=lambda entry: entry[:2], reverse=True)]


@dataclass
class Statistics:
    """Of rows: how many by domain, source and task, how long their prompts are in `unit`, and some of each task."""

    unit: str
    samples_per_task: int
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    lengths: dict[str, Lengths] = field(default_factory=dict)  # by domain
    task_lengths: dict[tuple[str, str, str], Lengths] = field(default_factory=dict)
    samples: dict[tuple[str, str, str], Sample] = field(default_factory=dict)

    @classmethod
    def of(
        cls, rows: Iterable[Row], length: Callable[[Row], int], *, unit: str, samples_per_task: int = 1
    ) -> Statistics:
        found = cls(unit, samples_per_task)
        for row in rows:
            key = row.domain, row.source, row.task
            found.counts[key] += 1
            prompt_length = length(row)
            for lengths in (
                found.lengths.setdefault(row.domain, Lengths()),
                found.task_lengths.setdefault(key, Lengths()),
            ):
                lengths.add(prompt_length)
            found.samples.setdefault(key, Sample(samples_per_task)).add(row)
        return found

    @property
    def total(self) -> int:
        return sum(self.counts.values())

    def by(self, place: int) -> Mapping[str, int]:
        """Counts by domain (0), source (1) or task (2), the largest first."""
        counts: Counter[str] = Counter()
        for key, count in self.counts.items():
            counts[key[place]] += count
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def prompt_chars(row: Row) -> int:
    """Characters of a row's messages."""
    return sum(len(message["content"]) for message in row.messages)
