"""How often at least one of k answers is right, from n answers of which c are."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.errors import DataError


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), unbiased for a problem with n = `samples` answers, c = `correct` of them right.

    The quotient is the product of 1 - k/i for i from n - c + 1 to n: no binomial is ever formed.

    Raises:
        DataError: k is not in 1..n, or c not in 0..n. More than n answers can't be drawn from n without returning.
    """
    _check_k(samples, k)
    if not 0 <= correct <= samples:
        raise DataError(f"pass@{k}: {correct} correct of {samples} samples; it must be in 0..{samples}")
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - correct + 1, samples + 1))


def pass_at_k_by_correct(samples: int, k: int) -> NDArray[np.float64]:
    """`pass_at_k` of every number of right answers from 0 to n = `samples`, float64 [n + 1].

    C(n - c, k) / C(n, k) is the product of 1 - k / (n - i) for i from 0 to c - 1: each entry is one factor from the
    next, all of them in [0, 1], so nothing cancels and nothing overflows.

    Raises:
        DataError: k is not in 1..n.
    """
    _check_k(samples, k)
    left = samples - np.arange(samples)
    return 1.0 - np.concatenate([[1.0], np.cumprod(np.maximum(left - k, 0) / left)])


def powers_of_two(most: int) -> tuple[int, ...]:
    """1, 2, 4, ... up to `most`: the k of the paper's curves.

    >>> powers_of_two(20)
    (1, 2, 4, 8, 16)
    """
    return tuple(2**power for power in range(most.bit_length()))


def pass_at_k_bound(mean: float, variance: float, k: int) -> float:
    """What mean pass@k over problems can't exceed: 1 - ((1 - mean)^2 + variance)^(k/2). ProRL Eq. 5 (Dang et al.).

    `mean` and `variance` (over the problems themselves, divided by their number) are of each problem's pass@1.

    Raises:
        DataError: k < 2. The bound rests on x^(k/2) being convex, and at k = 1 it would lie below the mean itself.
    """
    if k < 2:
        raise DataError(f"pass@{k} has no bound of this form: k must be at least 2 (pass@1 is the mean itself)")
    return float(1.0 - ((1.0 - mean) ** 2 + variance) ** (k / 2))


def estimated_bound(solved_P: NDArray[np.float64], samples: int, k: int) -> float:
    """`pass_at_k_bound` from each problem's share of right answers, [P], in n = `samples` of them.

    A share is its problem's pass@1 and noise, whose variance, rho (1 - rho) / n, n samples tell from within as
    share (1 - share) / (n - 1). That is taken off the variance over problems, which would be too large, and the bound
    too low, with it.
    """
    noise = float(np.mean(solved_P * (1.0 - solved_P))) / (samples - 1) if samples > 1 else 0.0
    return pass_at_k_bound(float(solved_P.mean()), max(float(solved_P.var()) - noise, 0.0), k)


def _check_k(samples: int, k: int) -> None:
    if not 1 <= k <= samples:
        raise DataError(
            f"pass@{k} from {samples} samples: k must be in 1..{samples}. Sample more, or ask for a smaller k"
        )
