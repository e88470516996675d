"""At which frequencies rotary positions turn; `weights.rope` says which variants there are."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from nemo_prorl.weights.rope import RopeScaling


def rotary_frequencies(head_dim: int, theta: float, scaling: RopeScaling | None) -> Tensor:
    """Radians a position, [head_dim / 2], fp32, as transformers has them."""
    plain: Tensor = 1.0 / (theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))
    if scaling is None:
        return plain
    factor: float = scaling["factor"]
    if scaling["rope_type"] == "linear":
        return plain / factor
    if scaling["rope_type"] == "llama3":
        return _llama3(plain, scaling)
    kept = 1 - _yarn_ramp(head_dim, theta, scaling)
    stretched: Tensor = 1.0 / (factor * theta ** (torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim))
    return stretched * (1 - kept) + plain * kept


def _llama3(plain: Tensor, scaling: RopeScaling) -> Tensor:
    factor, context = scaling["factor"], scaling["original_max_position_embeddings"]
    low, high = scaling["low_freq_factor"], scaling["high_freq_factor"]
    wavelength = 2 * math.pi / plain
    smooth = (context / wavelength - low) / (high - low)
    between = (1 - smooth) * plain / factor + smooth * plain
    long, short = wavelength > context / low, wavelength < context / high
    return torch.where(long, plain / factor, torch.where(short, plain, between))


def _yarn_ramp(head_dim: int, theta: float, scaling: RopeScaling) -> Tensor:
    """0 where a frequency turns often enough within the original context to be kept, 1 where it is stretched."""

    def dimension(turns: float) -> float:
        context = scaling["original_max_position_embeddings"]
        return head_dim * math.log(context / (turns * 2 * math.pi)) / (2 * math.log(theta))

    low, high = dimension(scaling["beta_fast"]), dimension(scaling["beta_slow"])
    if scaling["truncate"]:
        low, high = math.floor(low), math.ceil(high)
    low, high = max(low, 0), min(high, head_dim - 1)
    high = high + 0.001 if low == high else high
    return ((torch.arange(head_dim // 2, dtype=torch.float32) - low) / (high - low)).clamp(0, 1)
