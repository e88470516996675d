"""Modules of a layer that run on any device.

They keep the parameter names of those they replace, so that checkpoints agree. On a CPU a pass over the activations
costs as much as a good part of a matrix product, so each of them takes as few passes as it can.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.transformer.mlp import MLP
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor


class RMSNorm(torch.nn.RMSNorm):
    """torch's RMSNorm, as Megatron builds norms; Megatron's own wrapper refuses sequence parallelism."""

    def __init__(self, config: TransformerConfig, hidden_size: int, eps: float = 1e-5, **_: Any) -> None:
        super().__init__(hidden_size, eps=eps, dtype=config.params_dtype)
        # finalize_model_grads adds up gradients of parameters with this mark over tensor-parallel ranks.
        self.weight.sequence_parallel = config.sequence_parallel  # type: ignore[attr-defined]

    def forward(self, x: Tensor) -> Tensor:
        normed: Tensor = _Normed.apply(x, self.weight, self.eps)
        return normed


class PackedMLP(MLP):
    """Megatron's gated MLP with its parameters; the gate is applied without keeping or copying its halves."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor | None]:
        intermediate, _bias = self.linear_fc1(hidden_states)
        output: tuple[Tensor, Tensor | None] = self.linear_fc2(_Gated.apply(intermediate))
        return output


class _Normed(torch.autograd.Function):
    """x / rms(x) * weight over the last dimension, in fp32. torch's own is a dozen passes over x on a CPU."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        wide = x.float()
        scale = torch.linalg.vecdot(wide, wide).div_(x.shape[-1]).add_(eps).rsqrt_().unsqueeze(-1)
        ctx.save_for_backward(x, weight, scale)
        return (wide * scale).mul_(weight).to(x.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """With y = x s w: dx = s (g w - x s^2 mean(g w x)), dw = the sum of g x s over all but the last dimension."""
        x, weight, scale = ctx.saved_tensors
        gradient, wide = gradients[0].float(), x.float()
        weighted = gradient * weight
        along = torch.linalg.vecdot(weighted, wide).unsqueeze(-1).mul_(scale**3).div_(-x.shape[-1])
        to_x = weighted.mul_(scale).addcmul_(wide, along)
        to_weight = scale.view(1, -1) @ (gradient * wide).view(-1, x.shape[-1])
        return to_x.to(x.dtype), to_weight[0].to(weight.dtype), None


class _Gated(torch.autograd.Function):
    """[..., 2F] -> silu(gate) * up, [..., F]. Only the input is kept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        gate, up = x.chunk(2, dim=-1)
        return F.silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gate, up = x.chunk(2, dim=-1)
        to_x = torch.empty_like(x)
        to_gate, to_up = to_x.chunk(2, dim=-1)
        torch.mul(gradients[0], F.silu(gate), out=to_up)
        torch.ops.aten.silu_backward.grad_input(gradients[0] * up, gate, grad_input=to_gate)
        return to_x
