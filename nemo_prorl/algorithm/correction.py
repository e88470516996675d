"""Two programs compute the policy's probabilities: the rollout engine that sampled and the trainer that learns.

Their kernels and precisions differ, so the samples are not quite the policy's own. Weights policy/sampler repair this.
"""

from __future__ import annotations

from torch import Tensor

from nemo_prorl.algorithm.ratio import probability_ratio


def truncated_importance(old_logp_BT: Tensor, sampler_logp_BT: Tensor, *, max_weight: float) -> Tensor:
    """min(exp(old - sampler), max_weight) for each token, without gradient, [B, T] (truncated importance sampling).

    Truncation bounds the variance: a token that the sampler thought far less likely than the policy does would
    otherwise speak for all others.
    """
    return probability_ratio((old_logp_BT - sampler_logp_BT).detach()).clamp(max=max_weight)
