"""Whether samples are copies of each other more often than chance allows."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

IMPROBABLE = math.log(1e-6)


def log_chance_of_copies(samples: Sequence[tuple[tuple[int, ...], float]]) -> float:
    """An upper bound of the log of the chance that so many of these samples are equal; 0 when none are.

    `samples`: tokens and their log probability, of one prompt. k equal ones among n: C(n, k) p^(k-1).

    >>> round(log_chance_of_copies([((1,), -2.0), ((1,), -2.0), ((2,), -1.0)]), 4)  # log 3 - 2
    -0.9014
    """
    counts, logprobs = Counter(ids for ids, _ in samples), dict(samples)
    terms = [math.log(math.comb(len(samples), k)) + (k - 1) * logprobs[ids] for ids, k in counts.items() if k > 1]
    return min(0.0, sum(terms))
