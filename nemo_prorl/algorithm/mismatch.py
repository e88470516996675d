"""How far the sampler is from the trainer: two programs compute one policy's probabilities, and must agree.

Letters: B responses, T predicted tokens. Both logprobs must be finite inside the mask; what stands outside is never
looked at.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from nemo_prorl.algorithm.kl import k3
from nemo_prorl.algorithm.ratio import probability_ratio
from nemo_prorl.algorithm.reduction import Mean, Metric, largest, masked, token_mean


@torch.no_grad()
def sampler_mismatch(policy_logp_BT: Tensor, sampler_logp_BT: Tensor, mask_BT: Tensor) -> dict[str, Metric]:
    """How far the trainer's logprobs are from the sampler's, of the same weights and tokens: a health check.

    multiplicative_error is the mean of exp(|policy - sampler|), NeMo-RL's token mult. prob. error: healthy below 1.02,
    alarming above 1.05. sequence_error_max is, of the worst response, exp of the mean |policy - sampler|.
    """
    policy_BT, sampler_BT = masked(policy_logp_BT, mask_BT), masked(sampler_logp_BT, mask_BT)
    gap_BT = (policy_BT - sampler_BT).abs()
    gap_B = gap_BT.sum(dim=1) / mask_BT.sum(dim=1).clamp(min=1)
    return {
        "policy/sampler_multiplicative_error": token_mean(probability_ratio(gap_BT), mask_BT),
        "policy/sampler_logprob_difference": token_mean(gap_BT, mask_BT),
        "policy/sampler_logprob_difference_max": largest(gap_BT, mask_BT),
        "policy/sampler_probability_difference": token_mean((policy_BT.exp() - sampler_BT.exp()).abs(), mask_BT),
        "policy/sampler_sequence_error_max": largest(probability_ratio(gap_B), mask_BT.any(dim=1)),
        "policy/sampler_kl": token_mean(k3(sampler_BT, policy_BT), mask_BT),
    }


@torch.no_grad()
def staleness(policy_logp_BT: Tensor, sampler_logp_BT: Tensor, stale_BT: Tensor) -> dict[str, Metric]:
    """How far the policy has moved since tokens were sampled that have waited since an earlier step: KL, nats."""
    policy_BT, sampler_BT = masked(policy_logp_BT, stale_BT), masked(sampler_logp_BT, stale_BT)
    return {"policy/stale_kl": token_mean(k3(sampler_BT, policy_BT), stale_BT)}


@dataclass(frozen=True)
class Mismatch:
    """The figures of `sampler_mismatch`, whole: over all microbatches and ranks that they are of.

    tokens                   that were compared
    multiplicative_error     mean of exp |policy - sampler|; 1: they agree
    logprob_difference       mean of |policy - sampler|, nats; and its maximum
    probability_difference   mean of |p_policy - p_sampler|
    sequence_error_max       of the worst response, exp of the mean |policy - sampler|
    kl                       KL(sampler || policy), nats a token
    """

    tokens: int
    multiplicative_error: float
    logprob_difference: float
    logprob_difference_max: float
    probability_difference: float
    sequence_error_max: float
    kl: float

    @classmethod
    def of(cls, metrics: Mapping[str, Metric]) -> Mismatch:
        """From what `sampler_mismatch` gives, after `reduction.merge`.

        >>> mask = torch.ones(1, 2, dtype=torch.bool)
        >>> Mismatch.of(sampler_mismatch(torch.tensor([[-1.0, -2.0]]), torch.tensor([[-1.0, -1.0]]), mask)).tokens
        2
        """
        names = [field.name for field in fields(cls) if field.name != "tokens"]
        values = {name: metrics[f"policy/sampler_{name}"].value for name in names}
        compared = metrics["policy/sampler_multiplicative_error"]
        assert isinstance(compared, Mean)
        return cls(tokens=int(compared.count), **values)

    def is_within(self, limit: float) -> bool:
        """Whether the sampler may be trained with; never when a figure is not a number, or nothing was compared."""
        return self.tokens > 0 and self.multiplicative_error <= limit

    def __str__(self) -> str:
        return (
            f"token mult. prob. error {self.multiplicative_error:.4f} over {self.tokens} tokens, |difference| of "
            f"logprobs {self.logprob_difference:.4f} in the mean and {self.logprob_difference_max:.3f} at most, worst "
            f"response {self.sequence_error_max:.4f}, KL {self.kl:.2g}"
        )
