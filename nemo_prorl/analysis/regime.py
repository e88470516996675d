"""Diminish, plateau or sustained: how the boundary of reasoning changed over training (ProRL, section 4.2).

The boundary is a benchmark's mean pass@k at a large k. With b, m, f those of the base, a middle and the final model:

    diminish    f - b is no gain              "decreased or unchanged"
    plateau     f - b is a gain, f - m isn't  "largely achieved early in training"
    sustained   both are gains                "continued improvements"

A difference is a gain when it is at least MARGIN, and would hardly ever come about by chance from models that solve
each problem equally often (`rise_by_chance` at most CHANCE). The first asks whether it matters, the second whether it
is there.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.analysis.exact_tests import Counts, rise_by_chance
from nemo_prorl.analysis.records import Kind
from nemo_prorl.evaluation.pass_at_k import pass_at_k_by_correct
from nemo_prorl.evaluation.resampling import problem_counts

MARGIN = 0.02  # of pass@k: two of a hundred problems
CHANCE = 0.025


class Verdict(NamedTuple):
    """A kind, and the share of resamples whose own differences would get each."""

    kind: Kind
    shares: dict[str, float]


def classify(base: Counts, middle: Counts | None, final: Counts, k: int, key: str = "") -> Verdict:
    """The regime of pass@k from how often each problem was solved. Without a middle model: diminish or gain.

    `shares` apply the margin to bootstrap resamples of the problems: would other problems of the kind say the same? A
    kind that most of them don't share is one to doubt.
    """
    counts_RP = problem_counts(len(base.solved_P), key) / len(base.solved_P)
    gained_R = counts_RP @ _difference(base, final, k) >= MARGIN
    if middle is None:
        kind: Kind = "gain" if is_gain(base, final, k) else "diminish"
        return Verdict(kind, {"diminish": float(np.mean(~gained_R)), "gain": float(np.mean(gained_R))})
    goes_on_R = counts_RP @ _difference(middle, final, k) >= MARGIN
    shares = {
        "diminish": float(np.mean(~gained_R)),
        "plateau": float(np.mean(gained_R & ~goes_on_R)),
        "sustained": float(np.mean(gained_R & goes_on_R)),
    }
    if not is_gain(base, final, k):
        return Verdict("diminish", shares)
    return Verdict("sustained" if is_gain(middle, final, k) else "plateau", shares)


def is_gain(before: Counts, after: Counts, k: int) -> bool:
    """Whether pass@k rose; see above."""
    return float(_difference(before, after, k).mean()) >= MARGIN and rise_by_chance(before, after, k) <= CHANCE


def _difference(before: Counts, after: Counts, k: int) -> NDArray[np.float64]:
    """of each problem's pass@k, [P]."""
    earlier, later = (pass_at_k_by_correct(counts.samples, k)[counts.solved_P] for counts in (before, after))
    return later - earlier
