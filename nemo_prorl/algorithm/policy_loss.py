"""The loss of an update: surrogate, sampler correction and KL penalty put together, and the metrics that explain it.

Letters: B responses, T predicted tokens. Pure: tensors in, tensors out; it knows no model, no config and no rank.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from nemo_prorl.algorithm import diagnostics
from nemo_prorl.algorithm.correction import Correction, correction_weights, sampling_ratio
from nemo_prorl.algorithm.kl import Estimator, kl_penalty
from nemo_prorl.algorithm.mismatch import sampler_mismatch, staleness
from nemo_prorl.algorithm.objective import Objective, clip_bounds
from nemo_prorl.algorithm.reduction import Aggregation, Mean, Metric, masked, token_mean
from nemo_prorl.errors import ShapeError, TrainingError


@dataclass(frozen=True)
class PolicyLoss:
    """What an update minimises: aggregation(weight * objective + kl_weight * KL).

    objective              loss of each token, its knobs already bound
    aggregation            how tokens become one number; the surrogate and the KL are reduced alike
    kl_weight              beta; 0 leaves the KL out of the loss (with a reference it is still measured)
    kl_value, kl_gradient  estimators, see `kl_penalty`
    correction             weights of the surrogate by policy/sampler, its knobs bound; None: no correction
    """

    objective: Objective
    aggregation: Aggregation
    kl_weight: float = 0.0
    kl_value: Estimator = "k3"
    kl_gradient: Estimator | None = None
    correction: Correction | None = None

    def __call__(
        self,
        logprobs_BT: Tensor,
        entropies_BT: Tensor,
        *,
        advantages_BT: Tensor,
        old_logprobs_BT: Tensor | None,
        reference_logprobs_BT: Tensor | None,
        sampler_logprobs_BT: Tensor | None,
        mask_BT: Tensor,
        base_logprobs_BT: Tensor | None = None,
        rows_of_domain: Mapping[str, Tensor] | None = None,
        fresh_rows_B: Tensor | None = None,
    ) -> tuple[Mean, dict[str, Metric]]:
        """The loss with its gradient, and metrics without one. What stands outside the mask is never looked at.

        `base_logprobs_BT`, those of the model that the run started from, are measured against and have no part in the
        loss. `rows_of_domain`: bool [B] by domain, for metrics by domain. `fresh_rows_B`: bool, those that this step's
        policy sampled; the others have waited since an earlier step, and the sampler's health isn't judged by them.

        Without `old_logprobs_BT` the policy is compared with itself as it is now: every ratio is 1, and its gradient is
        the policy gradient. That is exact for the only update of a step.

        Raises:
            ShapeError: a tensor isn't [B, T], or the mask isn't boolean.
            TrainingError: the loss needs reference or sampler logprobs and there are none.
        """
        if old_logprobs_BT is None:
            old_logprobs_BT = logprobs_BT.detach()
        self._check(logprobs_BT, (entropies_BT, advantages_BT, old_logprobs_BT), mask_BT)
        logp_BT, old_BT = masked(logprobs_BT, mask_BT), masked(old_logprobs_BT.detach(), mask_BT)
        advantage_BT = masked(advantages_BT, mask_BT)
        surrogate_BT = self.objective(logp_BT, old_BT, advantage_BT)
        _check_shape("from the objective a loss", surrogate_BT, mask_BT)
        metrics = diagnostics.policy_step(logp_BT, old_BT, entropies_BT, mask_BT)
        bounds = clip_bounds(self.objective)
        if bounds is not None:
            metrics |= diagnostics.clipping(logp_BT, old_BT, advantage_BT, mask_BT, bounds)
        weight_BT, found = self._correction(old_BT, sampler_logprobs_BT, mask_BT, fresh_rows_B)
        if weight_BT is not None:
            surrogate_BT = weight_BT * surrogate_BT
        penalty_BT, measured = self._penalty(logp_BT, reference_logprobs_BT, surrogate_BT, mask_BT)
        metrics |= found | measured | {"policy/loss": _detached(self.aggregation(surrogate_BT, mask_BT))}
        distances = {"kl/reference": reference_logprobs_BT, "kl/base": base_logprobs_BT}
        metrics |= self._by_domain(logp_BT, entropies_BT, distances, mask_BT, rows_of_domain or {})
        loss_BT = surrogate_BT if penalty_BT is None else surrogate_BT + penalty_BT
        return self.aggregation(loss_BT, mask_BT), metrics

    def _by_domain(
        self,
        logp_BT: Tensor,
        entropies_BT: Tensor,
        others: Mapping[str, Tensor | None],
        mask_BT: Tensor,
        rows_of_domain: Mapping[str, Tensor],
    ) -> dict[str, Metric]:
        """Entropy and KL of each domain, and the KL to the base model over all."""
        known = {"policy/entropy": masked(entropies_BT, mask_BT)}
        for name, logprobs_BT in others.items():
            if logprobs_BT is not None:
                _check_shape(f"for {name} logprobs", logprobs_BT, mask_BT)
                known[name] = kl_penalty(logp_BT.detach(), masked(logprobs_BT, mask_BT), value=self.kl_value)
        metrics = diagnostics.by_domain(known, mask_BT, rows_of_domain)
        return metrics | ({"kl/base": token_mean(known["kl/base"], mask_BT)} if "kl/base" in known else {})

    def _correction(
        self, old_BT: Tensor, sampler_logprobs_BT: Tensor | None, mask_BT: Tensor, fresh_rows_B: Tensor | None
    ) -> tuple[Tensor | None, dict[str, Metric]]:
        """Weights of the surrogate, or None without a correction, and what is known of the sampler."""
        if sampler_logprobs_BT is None:
            if self.correction is not None:
                raise TrainingError(
                    "loss.sampler_correction needs the sampler's logprobs and the rollout engine gave none; "
                    "set loss.sampler_correction=null or choose an engine that reports them"
                )
            return None, {}
        _check_shape("sampler_logprobs_BT", sampler_logprobs_BT, mask_BT)
        sampler_BT = masked(sampler_logprobs_BT.detach(), mask_BT)
        metrics = sampler_mismatch(
            old_BT, sampler_BT, mask_BT if fresh_rows_B is None else mask_BT & fresh_rows_B[:, None]
        )
        if fresh_rows_B is not None:
            metrics |= staleness(old_BT, sampler_BT, mask_BT & ~fresh_rows_B[:, None])
        if self.correction is None:
            return None, metrics
        weight_BT = masked(self.correction(old_BT, sampler_BT, mask_BT), mask_BT)
        _check_shape("from the correction weights", weight_BT, mask_BT)
        return weight_BT, metrics | correction_weights(weight_BT, sampling_ratio(old_BT, sampler_BT, mask_BT), mask_BT)

    def _penalty(
        self, logp_BT: Tensor, reference_logprobs_BT: Tensor | None, surrogate_BT: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor | None, dict[str, Metric]]:
        """kl_weight * KL of each token, or None when the loss has no such term, and its metrics."""
        if reference_logprobs_BT is None:
            if self.kl_weight:
                raise TrainingError(
                    f"kl_weight={self.kl_weight} needs the reference's logprobs and the batch has none; score the "
                    "batch with the reference first, or set kl_weight=0"
                )
            return None, {}
        _check_shape("reference_logprobs_BT", reference_logprobs_BT, mask_BT)
        reference_BT = masked(reference_logprobs_BT.detach(), mask_BT)
        kl_BT = kl_penalty(logp_BT, reference_BT, value=self.kl_value, gradient=self.kl_gradient)
        metrics = diagnostics.reference_distance(kl_BT, surrogate_BT, mask_BT, self.kl_weight)
        if not self.kl_weight:
            return None, metrics
        penalty_BT = self.kl_weight * kl_BT
        return penalty_BT, metrics | {"kl/weighted": _detached(self.aggregation(penalty_BT, mask_BT))}

    @staticmethod
    def _check(logprobs_BT: Tensor, others: tuple[Tensor, ...], mask_BT: Tensor) -> None:
        """Refuse what would broadcast or count silently wrong."""
        if mask_BT.dtype != torch.bool or mask_BT.dim() != 2:
            raise ShapeError(f"mask_BT is {mask_BT.dtype} of shape {tuple(mask_BT.shape)}, expected torch.bool [B, T]")
        names = ("logprobs_BT", "entropies_BT", "advantages_BT", "old_logprobs_BT")
        for name, tensor in zip(names, (logprobs_BT, *others), strict=True):
            _check_shape(name, tensor, mask_BT)


def _check_shape(name: str, tensor: Tensor, mask_BT: Tensor) -> None:
    if tensor.shape != mask_BT.shape:
        raise ShapeError(f"PolicyLoss got {name} of {tuple(tensor.shape)}, expected the mask's {tuple(mask_BT.shape)}")


def _detached(mean: Mean) -> Mean:
    return Mean(mean.total.detach(), mean.count)
