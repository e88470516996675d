"""Tests that assume no distribution: exact where counts allow it, by permutation elsewhere."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.errors import DataError
from nemo_prorl.evaluation.pass_at_k import pass_at_k_by_correct

PERMUTATIONS = 20_000  # orders, where not all of them are looked at
FLIPS = 4_000
DEALS = 1_000
_SEED = 0
_ROUNDING = 1e-9  # sums that are equal but for it count as equal


class Counts(NamedTuple):
    """Right answers to each problem, int [P], of so many."""

    solved_P: NDArray[np.int64]
    samples: int


def fisher_more(successes: int, trials: int, base_successes: int, base_trials: int) -> float:
    """One-sided p-value of Fisher's exact test: had both the same chance, how likely are at least so many of all the
    successes on the first side. Sums of binomials in whole numbers: exact but for one division.

    Raises:
        DataError: more successes than trials.
    """
    if not (0 <= successes <= trials and 0 <= base_successes <= base_trials):
        raise DataError(f"{successes} of {trials} and {base_successes} of {base_trials}: successes are among trials")
    total = successes + base_successes
    most = min(total, trials)
    ways = sum(math.comb(trials, x) * math.comb(base_trials, total - x) for x in range(successes, most + 1))
    return ways / math.comb(trials + base_trials, total)


def sign_test(ups: int, downs: int) -> float:
    """Two-sided p-value that ups are as likely as downs, exact; 1.0 of none."""
    n, fewer = ups + downs, min(ups, downs)
    return min(1.0, 2 * sum(math.comb(n, x) for x in range(fewer + 1)) / 2**n)


def holm(p_values: Sequence[float], tests: int | None = None) -> list[float]:
    """p-values after Holm's correction for `tests` of them (None: so many as are given; others count as 1)."""
    tests = len(p_values) if tests is None else tests
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (tests - rank) * p_values[place]))
        adjusted[place] = highest
    return adjusted


def hidden_up_to(samples: int, confidence: float = 0.95) -> float:
    """The chance that a problem may still have after 0 right of n = `samples` answers (Clopper-Pearson, one-sided)."""
    return 1.0 - (1.0 - confidence) ** (1.0 / samples)


def mean_shift(differences_P: NDArray[np.float64]) -> float:
    """Two-sided p-value of the sign-flip test that paired differences are as often up as down by any amount."""
    nonzero = differences_P[differences_P != 0]
    random = np.random.Generator(np.random.PCG64(_SEED))
    signs = random.integers(0, 2, size=(FLIPS, len(nonzero)), dtype=np.int8) * 2.0 - 1.0
    return _share(np.abs(signs @ nonzero) >= abs(float(nonzero.sum())) * (1 - _ROUNDING))


def rise_by_chance(before: Counts, after: Counts, k: int) -> float:
    """One-sided p-value that mean pass@k rises so much though no problem's chance has changed.

    Under that assumption, which of a problem's right answers came from which model is a matter of chance: they are
    dealt out anew, problem by problem (a permutation test within problems, exact but for the number of deals). So it
    asks about these very problems; what others of their kind would show is another question.
    """
    deals = _deals(before.samples, after.samples, k)
    right_P = before.solved_P + after.solved_P
    mine, theirs = (pass_at_k_by_correct(counts.samples, k)[counts.solved_P] for counts in (before, after))
    seen = float((theirs - mine).sum())
    random = np.random.Generator(np.random.PCG64(_SEED))
    rises_D = np.zeros(DEALS)
    for right in right_P:
        if np.ptp(deals.rises[right]) > _ROUNDING:
            dealt_D = np.searchsorted(deals.chances[right], random.random(DEALS))
            rises_D += deals.rises[right][dealt_D]
        else:
            rises_D += deals.rises[right][0]
    return _share(rises_D >= seen - _ROUNDING)


class _Deals(NamedTuple):
    """For each number of right answers that two models have together: by how many of them are the first one's, the
    chance of so many or fewer, and the rise of pass@k from the first to the second."""

    chances: list[NDArray[np.float64]]
    rises: list[NDArray[np.float64]]


@lru_cache(maxsize=4)
def _deals(samples: int, others: int, k: int) -> _Deals:
    mine, theirs = pass_at_k_by_correct(samples, k), pass_at_k_by_correct(others, k)
    deals = _Deals([], [])
    for right in range(samples + others + 1):
        dealt = np.arange(max(0, right - others), min(samples, right) + 1)
        # log C(samples, x) C(others, right - x), up to a constant
        logs = _log_choose(samples, dealt) + _log_choose(others, right - dealt)
        chances = np.exp(logs - logs.max())
        deals.chances.append(np.cumsum(chances / chances.sum())[:-1])
        deals.rises.append(theirs[right - dealt] - mine[dealt])
    return deals


def _log_choose(n: int, x: NDArray[np.int64]) -> NDArray[np.float64]:
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])  # log i!
    return logs[n] - logs[x] - logs[n - x]


def correlation(x_P: NDArray[np.float64], y_P: NDArray[np.float64]) -> tuple[float, float] | None:
    """Pearson's r and its two-sided p-value by permutation; None: under 3 points, or one of both doesn't vary.

    Up to 7 points every permutation is looked at, so 3 points have no p-value below 1/3.
    """
    if len(x_P) < 3:
        return None
    x_P, y_P = x_P - x_P.mean(), y_P - y_P.mean()
    scale = math.sqrt(float((x_P**2).sum() * (y_P**2).sum()))
    if scale < 1e-12:
        return None
    seen = float(x_P @ y_P)
    orders = _orders(len(x_P))
    reached = np.abs(y_P[orders] @ x_P) >= abs(seen) * (1 - _ROUNDING)
    return seen / scale, float(reached.mean()) if len(x_P) <= 7 else _share(reached)


def ranks(values_P: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ranks from 1; equal values share the mean of theirs."""
    _, places, counts = np.unique(values_P, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    shared: NDArray[np.float64] = (last - (counts - 1) / 2)[places]
    return shared


def _share(reached: NDArray[np.bool_]) -> float:
    """A p-value from random draws; what was seen counts as one of them, so that it is never 0."""
    return (int(reached.sum()) + 1) / (len(reached) + 1)


def _orders(points: int) -> NDArray[np.int64]:
    """Permutations of 0..points-1, a row each: all of up to 7, else random ones."""
    if points <= 7:
        rows: list[list[int]] = [[]]
        for number in range(points):
            rows = [[*row[:place], number, *row[place:]] for row in rows for place in range(len(row) + 1)]
        return np.array(rows)
    random = np.random.Generator(np.random.PCG64(_SEED))
    return random.permuted(np.tile(np.arange(points), (PERMUTATIONS, 1)), axis=1)
