"""What an update looked like from inside. Every function gives metrics by name; none has a gradient.

Letters: B responses, T predicted tokens. Fractions and means are over tokens; where a name ends in `_positive` or
`_negative`, over the tokens whose advantage has that sign. Inputs must be finite outside the mask.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from nemo_prorl.algorithm.kl import k3
from nemo_prorl.algorithm.objective import ClipBounds
from nemo_prorl.algorithm.ratio import probability_ratio
from nemo_prorl.algorithm.reduction import Mean, Metric, largest, smallest, token_mean


@torch.no_grad()
def policy_step(logp_BT: Tensor, old_logp_BT: Tensor, entropy_BT: Tensor, mask_BT: Tensor) -> dict[str, Metric]:
    """How far the policy has moved since it sampled, and how undecided it is (nats).

    approximate_kl estimates KL(old || policy) by k3. At the first update of a step it is 0 and every ratio 1, if all
    logprobs are taken at the sampling temperature.
    """
    ratio_BT = probability_ratio(logp_BT - old_logp_BT)
    return {
        "policy/approximate_kl": token_mean(k3(old_logp_BT, logp_BT), mask_BT),
        "policy/ratio_mean": token_mean(ratio_BT, mask_BT),
        "policy/ratio_max": largest(ratio_BT, mask_BT),
        "policy/ratio_min": smallest(ratio_BT, mask_BT),
        "policy/entropy": token_mean(entropy_BT, mask_BT),
    }


@torch.no_grad()
def clipping(
    logp_BT: Tensor, old_logp_BT: Tensor, advantage_BT: Tensor, mask_BT: Tensor, bounds: ClipBounds
) -> dict[str, Metric]:
    """Where ratios leave their bounds, by side and by sign of the advantage.

    `clip_...` fractions are the tokens that a bound robs of their gradient: below the lower one with a negative
    advantage, above the upper one with a positive. `outside_...` are the others out of bounds, which it leaves alone.
    """
    ratio_BT = probability_ratio(logp_BT - old_logp_BT)
    rising_BT, falling_BT = mask_BT & (advantage_BT > 0), mask_BT & (advantage_BT < 0)
    low_BT, high_BT = ratio_BT < bounds.low, ratio_BT > bounds.high
    held_BT = (rising_BT & high_BT) | (falling_BT & low_BT)
    metrics: dict[str, Metric] = {
        "policy/clip_low_fraction_negative": token_mean(low_BT.float(), falling_BT),
        "policy/clip_high_fraction_positive": token_mean(high_BT.float(), rising_BT),
        "policy/outside_low_fraction_positive": token_mean(low_BT.float(), rising_BT),
        "policy/outside_high_fraction_negative": token_mean(high_BT.float(), falling_BT),
    }
    if bounds.dual is not None:
        dual_BT = falling_BT & (ratio_BT > bounds.dual)
        held_BT = held_BT | dual_BT
        metrics["policy/dual_clip_fraction_negative"] = token_mean(dual_BT.float(), falling_BT)
    metrics["policy/clip_fraction"] = token_mean(held_BT.float(), mask_BT)
    return metrics


@torch.no_grad()
def reference_distance(
    penalty_BT: Tensor, surrogate_BT: Tensor, mask_BT: Tensor, kl_weight: float
) -> dict[str, Metric]:
    """The KL to the reference, and how much it weighs: its share of a token's loss, both taken in size."""
    weighted_BT = kl_weight * penalty_BT.abs()
    size_BT = weighted_BT + surrogate_BT.abs()
    share_BT = torch.where(size_BT > 0, weighted_BT / size_BT.clamp(min=torch.finfo(size_BT.dtype).tiny), 0.0)
    return {
        "kl/reference": token_mean(penalty_BT, mask_BT),
        "kl/loss_share": token_mean(share_BT, mask_BT),
    }


@torch.no_grad()
def by_domain(values: Mapping[str, Tensor], mask_BT: Tensor, rows_of_domain: Mapping[str, Tensor]) -> dict[str, Metric]:
    """Means over the tokens of each domain's rows, {"policy/entropy": [B, T]} as "policy/<domain>/entropy".

    `rows_of_domain` says which of the B rows are a domain's, bool [B]. A domain without rows has the mean of nothing,
    so that all ranks know the same metrics; `of_domains_seen` leaves it out once they are reduced.
    """
    return {
        _of_domain(name, domain): token_mean(value_BT, mask_BT & rows_B[:, None])
        for domain, rows_B in rows_of_domain.items()
        for name, value_BT in values.items()
    }


def of_domains_seen(metrics: Mapping[str, Metric], domains: Collection[str]) -> dict[str, Metric]:
    """`metrics` without those of `domains` that are means of nothing."""
    return {
        name: metric
        for name, metric in metrics.items()
        if not (isinstance(metric, Mean) and not int(metric.count) and set(name.split("/")[1:-1]) & set(domains))
    }


def _of_domain(name: str, domain: str) -> str:
    """
    >>> _of_domain("policy/entropy", "math")
    'policy/math/entropy'
    """
    place, _, last = name.rpartition("/")
    return f"{place}/{domain}/{last}"
