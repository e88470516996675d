"""How good a response is beside the others to the same prompt. Letters: G groups, N samples a group."""

from __future__ import annotations

from torch import Tensor

from nemo_prorl.errors import ShapeError

STD_EPSILON = 1e-6
"""Added to the standard deviation: one response in N slightly off the others gets no unbounded advantage."""


def group_relative(rewards_GN: Tensor) -> Tensor:
    """(R - mean) / (std + 1e-6) within each group, [G, N] in the dtype of the rewards. ProRL Eq. 2.

    The standard deviation is the sample's, over N - 1. Equal rewards give exactly 0, whatever their value. A group is
    a row, so two groups of the same prompt stay two groups.

    Raises:
        ShapeError: not [G, N], or groups of one: a single response has nothing to be compared with.
    """
    if rewards_GN.dim() != 2 or rewards_GN.shape[1] < 2:
        raise ShapeError(
            f"group_relative got rewards of shape {tuple(rewards_GN.shape)}; it needs [groups, samples] with at least "
            "2 samples a group. Raise samples_per_prompt"
        )
    rewards = rewards_GN.double()
    # Measured from the group's first reward, equal rewards are exact zeros. A mean of N equal floats is not always
    # that float (6 times 1/60, say), and a rounding error over a standard deviation of the same size is of order 1.
    shifted = rewards - rewards[:, :1]
    centred = shifted - shifted.mean(dim=1, keepdim=True)
    std = shifted.std(dim=1, correction=1, keepdim=True)
    return (centred / (std + STD_EPSILON)).to(rewards_GN.dtype)
