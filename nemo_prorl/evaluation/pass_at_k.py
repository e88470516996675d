"""How often at least one of k answers is right, from n answers of which c are."""

from __future__ import annotations

import math

from nemo_prorl.errors import DataError


def pass_at_k(samples: int, correct: int, k: int) -> float:
    """1 - C(n - c, k) / C(n, k), unbiased for a problem with n = `samples` answers, c = `correct` of them right.

    The quotient is the product of 1 - k/i for i from n - c + 1 to n: no binomial is ever formed.

    Raises:
        DataError: k is not in 1..n, or c not in 0..n. More than n answers can't be drawn from n without returning.
    """
    if not 1 <= k <= samples:
        raise DataError(
            f"pass@{k} from {samples} samples: k must be in 1..{samples}. Sample more, or ask for a smaller k"
        )
    if not 0 <= correct <= samples:
        raise DataError(f"pass@{k}: {correct} correct of {samples} samples; it must be in 0..{samples}")
    if samples - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / i for i in range(samples - correct + 1, samples + 1))


def pass_at_k_bound(mean: float, variance: float, k: int) -> float:
    """What mean pass@k over problems can't exceed: 1 - ((1 - mean)^2 + variance)^(k/2). ProRL Eq. 5 (Dang et al.).

    `mean` and `variance` (over the problems themselves, divided by their number) are of each problem's pass@1.

    Raises:
        DataError: k < 2. The bound rests on x^(k/2) being convex, and at k = 1 it would lie below the mean itself.
    """
    if k < 2:
        raise DataError(f"pass@{k} has no bound of this form: k must be at least 2 (pass@1 is the mean itself)")
    return float(1.0 - ((1.0 - mean) ** 2 + variance) ** (k / 2))
