"""Means over problems with standard errors and intervals by bootstrap over problems.

A problem is one observation, however often it was answered, since answers to one problem resemble each other. Problems
are drawn anew within their task, so a mean over tasks keeps each task's weight. The draws depend on the task's name and
its number of problems alone: what two models do on the same problems is resampled together.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.evaluation.records import Measure

RESAMPLES = 2000
INTERVAL = (2.5, 97.5)  # per cent
_AT_ONCE = 200  # resamples drawn in one go, as whole numbers


class Resampled(NamedTuple):
    """A mean over problems, and what it is in each resample, float64 [RESAMPLES]; None: a single problem tells
    nothing of others."""

    value: float
    draws: NDArray[np.float64] | None

    @classmethod
    def mean(cls, parts: Sequence[Resampled]) -> Resampled:
        """Of tasks or sets, whose problems are different ones, each counting the same."""
        draws = [part.draws for part in parts if part.draws is not None]
        value = float(np.mean([part.value for part in parts]))
        return cls(value, np.mean(draws, axis=0) if len(draws) == len(parts) else None)

    def scaled(self, factor: float) -> Resampled:
        return Resampled(self.value * factor, None if self.draws is None else self.draws * factor)

    def measure(self) -> Measure:
        if self.draws is None:
            return Measure(value=self.value)
        low, high = np.percentile(self.draws, INTERVAL)
        return Measure(value=self.value, standard_error=float(self.draws.std(ddof=1)), low=float(low), high=float(high))


def resampled(values_MP: NDArray[np.float64], key: str) -> list[Resampled]:
    """M measures of P problems, [M, P], each over the same resamples of the problems; `key` names the task."""
    means = values_MP.mean(axis=1)
    problems = values_MP.shape[1]
    if problems < 2:
        return [Resampled(float(mean), None) for mean in means]
    draws_MR = values_MP @ problem_counts(problems, key).T / problems
    return [Resampled(float(mean), draws) for mean, draws in zip(means, draws_MR, strict=True)]


@lru_cache(maxsize=4)
def problem_counts(problems: int, key: str) -> NDArray[np.float64]:
    """How often each problem is in each resample, [RESAMPLES, problems]; every row sums to `problems`."""
    random = np.random.Generator(np.random.PCG64(_seed(f"{key}\x1f{problems}")))
    chances = np.full(problems, 1 / problems)
    counts = np.empty((RESAMPLES, problems))
    for start in range(0, RESAMPLES, _AT_ONCE):
        counts[start : start + _AT_ONCE] = random.multinomial(problems, chances, size=_AT_ONCE)
    counts.flags.writeable = False  # it is kept and given out again
    return counts


def _seed(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
