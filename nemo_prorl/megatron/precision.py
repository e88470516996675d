"""Which dtypes the engine computes in. Logprobs, entropy, losses and reductions are fp32 whatever the trunk does."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch


@dataclass(frozen=True)
class Precision:
    """`parameters` is the dtype of weights and activations; below fp32 the optimizer keeps fp32 master weights."""

    parameters: torch.dtype
    bf16: bool


PRECISIONS = {
    "fp32": Precision(torch.float32, bf16=False),
    "bf16": Precision(torch.bfloat16, bf16=True),
}


def precision_of(name: Literal["fp32", "bf16"]) -> Precision:
    return PRECISIONS[name]
