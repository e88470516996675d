"""How far the policy is from the reference, estimated token by token from the sampled tokens alone. ProRL Eq. 4.

With d = log reference - log policy at a token that the policy sampled:

    estimator      mean over the policy's samples   mean of its gradient
    k1 = -d        KL(policy || reference)          0: as a loss it does nothing
    k2 = d^2 / 2   near it, for small d             the gradient of KL(policy || reference)
    k3 = e^d-1-d   KL(policy || reference)          the gradient of KL(reference || policy): right only for small d

So k3 (or k1) is the value to report and k2's is the gradient to follow; `kl_penalty` chooses the two apart. "The
policy's samples" holds at the first update of a step; later updates see samples of the policy before them.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor

from nemo_prorl.algorithm.ratio import LOG_RATIO_LIMIT

Estimator: TypeAlias = Literal["k1", "k2", "k3"]


def k1(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """log policy - log reference: unbiased, of either sign, noisy."""
    return logp - ref_logp


def k2(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """Half the squared log ratio: never negative, biased, with the right gradient."""
    return (logp - ref_logp).square() / 2


def k3(logp: Tensor, ref_logp: Tensor) -> Tensor:
    """e^d - 1 - d with d = log reference - log policy: unbiased and never negative. Beyond d = 20 it is flat."""
    d = (ref_logp - logp).clamp(max=LOG_RATIO_LIMIT)
    # expm1 keeps the digits that e^d - 1 loses where d is small, which is nearly everywhere.
    return torch.expm1(d) - d


ESTIMATORS = {"k1": k1, "k2": k2, "k3": k3}


def kl_penalty(
    logp_BT: Tensor, ref_logp_BT: Tensor, *, value: Estimator = "k3", gradient: Estimator | None = None
) -> Tensor:
    """Per-token KL estimate, [B, T]: its value is estimator `value`'s, its gradient estimator `gradient`'s.

    gradient None means the value's own. The reference never gets a gradient.
    """
    ref_logp_BT = ref_logp_BT.detach()
    value_BT = ESTIMATORS[value](logp_BT, ref_logp_BT)
    if gradient is None or gradient == value:
        return value_BT
    carrier_BT = ESTIMATORS[gradient](logp_BT, ref_logp_BT)
    # Straight-through: the bracket is exactly 0, and only it has a gradient.
    return value_BT.detach() + (carrier_BT - carrier_BT.detach())
