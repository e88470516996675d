"""Two programs compute the policy's probabilities: the rollout engine that sampled and the trainer that learns.

Their kernels and precisions differ, and a group may have waited since an earlier step, so the samples are not quite the
policy's own. A correction weighs each token's surrogate by what the ratio w = policy/sampler says.

Letters: B responses, T predicted tokens. A correction takes (old_logp_BT, sampler_logp_BT, mask_BT), finite inside the
mask, and gives weights without gradient, [B, T]; those outside the mask mean nothing. A row's weights depend on that
row alone. A weight of 0 takes the token out of the surrogate, though not out of the count that its mean is divided by,
so that dropping much makes a step small and not noisy. Its keyword-only arguments are its knobs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from nemo_prorl.algorithm.ratio import probability_ratio
from nemo_prorl.algorithm.reduction import Metric, masked, token_mean

Correction: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(old_logp_BT, sampler_logp_BT, mask_BT) -> weight_BT, its knobs bound."""


@torch.no_grad()
def token_tis(
    old_logp_BT: Tensor, sampler_logp_BT: Tensor, mask_BT: Tensor, *, max_weight: Annotated[float, Field(gt=0)] = 2.0
) -> Tensor:
    """min(w, max_weight) for each token: truncated importance sampling.

    Truncation bounds the variance: a token that the sampler thought far less likely than the policy does would
    otherwise speak for all others.
    """
    return sampling_ratio(old_logp_BT, sampler_logp_BT, mask_BT).clamp(max=max_weight)


@torch.no_grad()
def icepop(
    old_logp_BT: Tensor,
    sampler_logp_BT: Tensor,
    mask_BT: Tensor,
    *,
    low: Annotated[float, Field(ge=0)] = 0.5,
    high: Annotated[float, Field(gt=1)] = 5.0,
) -> Tensor:
    """w for each token with low <= w <= high, else 0: on both sides tokens that the two disagree about are left out.

    Named after Ring's method; the bounds are those of the public ProRL v2 recipes.
    """
    ratio_BT = sampling_ratio(old_logp_BT, sampler_logp_BT, mask_BT)
    return torch.where((ratio_BT >= low) & (ratio_BT <= high), ratio_BT, 0.0)


@torch.no_grad()
def sequence_mask(
    old_logp_BT: Tensor,
    sampler_logp_BT: Tensor,
    mask_BT: Tensor,
    *,
    low: Annotated[float, Field(gt=0, lt=1)] = 0.999,
    high: Annotated[float, Field(gt=1)] = 1.002,
    max_weight: Annotated[float, Field(gt=0)] | None = None,
) -> Tensor:
    """w for each token of the responses whose geometric mean of w lies within [low, high], 0 for whole other responses.

    The geometric mean is exp of the mean log w over the response's tokens. `max_weight` truncates the weights that are
    left; None leaves them. The bounds are tight: they are for engines whose logprobs differ by rounding.
    """
    gap_BT = masked(old_logp_BT - sampler_logp_BT, mask_BT)
    mean_B1 = probability_ratio(gap_BT.sum(dim=1, keepdim=True) / mask_BT.sum(dim=1, keepdim=True).clamp(min=1))
    weight_BT = probability_ratio(gap_BT)
    if max_weight is not None:
        weight_BT = weight_BT.clamp(max=max_weight)
    return torch.where((mean_B1 >= low) & (mean_B1 <= high), weight_BT, 0.0)


@torch.no_grad()
def sampling_ratio(old_logp_BT: Tensor, sampler_logp_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """w = exp(old - sampler), [B, T], 1 outside the mask."""
    return probability_ratio(masked(old_logp_BT - sampler_logp_BT, mask_BT))


@torch.no_grad()
def correction_weights(weight_BT: Tensor, ratio_BT: Tensor, mask_BT: Tensor) -> dict[str, Metric]:
    """What a correction did: mean weight (healthy: near 1), share of tokens with less than their ratio, and with 0."""
    dropped_BT = weight_BT == 0
    return {
        "policy/correction_weight": token_mean(weight_BT, mask_BT),
        "policy/correction_clipped_fraction": token_mean(((weight_BT < ratio_BT) & ~dropped_BT).float(), mask_BT),
        "policy/correction_dropped_fraction": token_mean(dropped_BT.float(), mask_BT),
    }


CORRECTIONS = {
    "token_tis": "nemo_prorl.algorithm.correction:token_tis",
    "icepop": "nemo_prorl.algorithm.correction:icepop",
    "sequence_mask": "nemo_prorl.algorithm.correction:sequence_mask",
}
