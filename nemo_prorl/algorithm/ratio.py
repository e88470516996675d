"""A ratio of probabilities from a difference of logprobs, without overflow."""

from __future__ import annotations

import torch
from torch import Tensor

LOG_RATIO_LIMIT = 20.0
"""Nats. e^20 is 5e8: no bound, weight or penalty tells such ratios apart, and one token more would drown a batch."""


def probability_ratio(log_ratio: Tensor) -> Tensor:
    """exp(log_ratio), with log_ratio held within +-LOG_RATIO_LIMIT: finite for every input but not-a-number.

    Where the limit bites the gradient is 0.
    """
    return torch.exp(log_ratio.clamp(-LOG_RATIO_LIMIT, LOG_RATIO_LIMIT))
