"""How good a response is beside the others to the same prompt. Letters: G groups, N samples a group.

Every function takes the rewards of a whole step, of all data-parallel ranks, so that none depends on how the step is
shared out. A group is a row: two groups of the same prompt stay two groups.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TypeAlias

from torch import Tensor

from nemo_prorl.errors import ShapeError

Advantage: TypeAlias = Callable[[Tensor], Tensor]
"""rewards_GN -> advantages_GN, its knobs bound."""

STD_EPSILON = 1e-6
"""Added to the standard deviation: one response in N slightly off the others gets no unbounded advantage."""


def group_relative(rewards_GN: Tensor) -> Tensor:
    """(R - mean) / (std + 1e-6) within each group, [G, N] in the dtype of the rewards. ProRL Eq. 2.

    The standard deviation is the sample's, over N - 1. Equal rewards give exactly 0, whatever their value.

    Raises:
        ShapeError: not [G, N], or groups of one: a single response has nothing to be compared with.
    """
    centred_GN = _centred(rewards_GN)
    std_G1 = centred_GN.std(dim=1, correction=1, keepdim=True)
    return (centred_GN / (std_G1 + STD_EPSILON)).to(rewards_GN.dtype)


def group_mean(rewards_GN: Tensor) -> Tensor:
    """R - mean within each group, [G, N]: hard and easy problems are not blown up to the same size (Dr. GRPO).

    Raises:
        ShapeError: as `group_relative`.
    """
    return _centred(rewards_GN).to(rewards_GN.dtype)


def group_mean_global_std(rewards_GN: Tensor) -> Tensor:
    """(R' - mean of R') / (std of R' + 1e-6) with R' = R - mean of its group, [G, N]. REINFORCE++ baseline, ProRL v2.

    Mean and (sample's) standard deviation are those of all responses of the step, each weighing the same whatever its
    length. Sums are exact, so not even the order of the groups changes a bit. Equal rewards everywhere give exactly 0.

    Raises:
        ShapeError: as `group_relative`.
    """
    centred_GN = _centred(rewards_GN)
    values = centred_GN.flatten().tolist()
    mean = math.fsum(values) / len(values)
    std = math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))
    return ((centred_GN - mean) / (std + STD_EPSILON)).to(rewards_GN.dtype)


def _centred(rewards_GN: Tensor) -> Tensor:
    """R - mean within each group, [G, N] in float64."""
    if rewards_GN.dim() != 2 or rewards_GN.shape[1] < 2:
        raise ShapeError(
            f"advantages were asked of rewards of shape {tuple(rewards_GN.shape)}; they need [groups, samples] with at "
            "least 2 samples a group. Raise samples_per_prompt"
        )
    rewards = rewards_GN.double()
    # Measured from the group's first reward, equal rewards are exact zeros. A mean of N equal floats is not always
    # that float (6 times 1/60, say), and a rounding error over a standard deviation of the same size is of order 1.
    shifted = rewards - rewards[:, :1]
    return shifted - shifted.mean(dim=1, keepdim=True)


ADVANTAGES = {
    "group_relative": "nemo_prorl.algorithm.advantage:group_relative",  # the default
    "group_mean": "nemo_prorl.algorithm.advantage:group_mean",
    "group_mean_global_std": "nemo_prorl.algorithm.advantage:group_mean_global_std",
}
