"""A layer's products on a CPU, some hundred tokens at a time, so that what lies between them stays in the caches.

Passes over activations that come from memory cost a third of a small model's update; of a chunk that has just been made
they cost next to nothing. So what stands between two products, or after one, is done chunk by chunk, forward and
backward, and nothing but a projection's result is kept. Parameters and results are those of the modules that these take
the place of; what tensor-parallel ranks tell each other is left to Megatron.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core.tensor_parallel import ColumnParallelLinear, RowParallelLinear
from megatron.core.tensor_parallel.mappings import (
    copy_to_tensor_model_parallel_region,
    gather_from_sequence_parallel_region,
    reduce_from_tensor_model_parallel_region,
    reduce_scatter_to_sequence_parallel_region,
)
from torch import Tensor

from nemo_prorl.megatron.attention import PackedInput, PackedSelfAttention, rotate
from nemo_prorl.megatron.layout import chunk_height
from nemo_prorl.megatron.modules import PackedMLP
from nemo_prorl.megatron.vocab_parallel import add_product


class ChunkedMLP(PackedMLP):
    """The gated MLP; of 2F + F numbers between its products, 2F are kept for the backward pass."""

    def forward(self, hidden_states: Tensor, *_: Any, **__: Any) -> tuple[Tensor, Tensor | None]:
        whole = entering(self.linear_fc1, hidden_states)
        weights = self.linear_fc1.weight, self.linear_fc2.weight
        return leaving(self.linear_fc2, _GatedMLP.apply(whole, *weights, torch.is_grad_enabled())), None


class ChunkedSelfAttention(PackedSelfAttention):
    """Self-attention whose heads are split and turned while their projection is at hand."""

    def heads(self, hidden_states: Tensor, pack: PackedInput) -> tuple[Tensor, Tensor, Tensor]:
        if self.config.qk_layernorm:  # norms come between projection and turning
            return super().heads(hidden_states, pack)
        layer = self.linear_qkv
        whole = entering(layer, hidden_states)
        heads: tuple[Tensor, Tensor, Tensor] = _TurnedProjection.apply(
            whole, layer.weight, layer.bias, pack.cos_lD, pack.sin_lD, self.num_query_groups_per_partition
        )
        return heads


def entering(layer: ColumnParallelLinear, x: Tensor) -> Tensor:
    """What the layer's product takes: all tokens, with a gradient that is added up over tensor-parallel ranks."""
    if layer.sequence_parallel:
        gathered: Tensor = gather_from_sequence_parallel_region(x, group=layer.tp_group)
        return gathered
    copied: Tensor = copy_to_tensor_model_parallel_region(x, group=layer.tp_group)
    return copied


def leaving(layer: RowParallelLinear, x: Tensor) -> Tensor:
    """The layer's result from this rank's part of the sum."""
    if layer.sequence_parallel:
        scattered: Tensor = reduce_scatter_to_sequence_parallel_region(x, group=layer.tp_group)
        return scattered
    reduced: Tensor = reduce_from_tensor_model_parallel_region(x, group=layer.tp_group)
    return reduced


class _GatedMLP(torch.autograd.Function):
    """x [..., H] -> (silu(gate) * up) @ down.T, where gate and up are the halves of x @ gate_up.T."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, gate_up_FH: Tensor, down_HF: Tensor, is_kept: bool) -> Tensor:
        x_NH, width = x.flatten(0, -2), len(gate_up_FH)
        out_NH = x.new_empty(len(x_NH), len(down_HF))
        # Without a backward pass to come a single chunk is enough.
        kept_NF = x.new_empty(len(x_NH) if is_kept else min(len(x_NH), chunk_height(width, "cpu")), width)
        for rows in _chunks(len(x_NH), width):
            both_CF = kept_NF[rows] if is_kept else kept_NF[: len(x_NH[rows])]
            torch.mm(x_NH[rows], gate_up_FH.t(), out=both_CF)
            gate_CF, up_CF = both_CF.chunk(2, dim=-1)
            torch.mm(F.silu(gate_CF).mul_(up_CF), down_HF.t(), out=out_NH[rows])
        if is_kept:
            ctx.save_for_backward(x, gate_up_FH, down_HF, kept_NF)
        return out_NH.view(*x.shape[:-1], -1)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, gate_up_FH, down_HF, kept_NF = ctx.saved_tensors
        x_NH, gradient_NH = x.flatten(0, -2), gradients[0].flatten(0, -2)
        to_x_NH = torch.empty_like(x_NH)
        to_gate_up_FH, to_down_HF = _sum_like(gate_up_FH), _sum_like(down_HF)
        for rows in _chunks(len(x_NH), len(gate_up_FH)):
            gate_CF, up_CF = kept_NF[rows].chunk(2, dim=-1)
            to_both_CF = torch.empty_like(kept_NF[rows])
            to_gate_CF, to_up_CF = to_both_CF.chunk(2, dim=-1)
            to_gated_CF = gradient_NH[rows] @ down_HF
            silu_CF = F.silu(gate_CF)
            torch.mul(to_gated_CF, silu_CF, out=to_up_CF)
            add_product(to_down_HF, gradient_NH[rows], silu_CF.mul_(up_CF))
            torch.ops.aten.silu_backward.grad_input(to_gated_CF.mul_(up_CF), gate_CF, grad_input=to_gate_CF)
            add_product(to_gate_up_FH, to_both_CF, x_NH[rows])
            torch.mm(to_both_CF, gate_up_FH, out=to_x_NH[rows])
        return to_x_NH.view_as(x), to_gate_up_FH.to(x.dtype), to_down_HF.to(x.dtype), None


class _TurnedProjection(torch.autograd.Function):
    """x [l, 1, H] -> queries and keys, turned, and values: [l, groups, heads, D], [l, groups, D] and [l, groups, D]."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_WH: Tensor, bias_W: Tensor | None, cos_lD: Tensor, sin_lD: Tensor, groups: int
    ) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(x, weight_WH, cos_lD, sin_lD)
        ctx.has_bias = bias_W is not None
        x_lH, size = x.flatten(0, -2), 2 * cos_lD.shape[1]
        query = x.new_empty(len(x_lH), groups, len(weight_WH) // (groups * size) - 2, size)
        key, value = x.new_empty(2, len(x_lH), groups, size).unbind(0)
        for rows in _chunks(len(x_lH), len(weight_WH)):
            mixed = F.linear(x_lH[rows], weight_WH, bias_W).view(-1, groups, query.shape[2] + 2, size)
            cos, sin = cos_lD[rows], sin_lD[rows]
            rotate(mixed[:, :, :-2], cos[:, None], sin[:, None], query[rows])
            rotate(mixed[:, :, -2], cos, sin, key[rows])
            value[rows] = mixed[:, :, -1]
        return query, key, value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_WH, cos_lD, sin_lD = ctx.saved_tensors
        query, key, value = gradients
        x_lH, to_weight_WH = x.flatten(0, -2), _sum_like(weight_WH)
        to_x_lH, to_bias_W = torch.empty_like(x_lH), to_weight_WH.new_zeros(len(weight_WH))
        for rows in _chunks(len(x_lH), len(weight_WH)):
            cos, back = cos_lD[rows], -sin_lD[rows]
            mixed = query.new_empty(len(cos), query.shape[1], query.shape[2] + 2, query.shape[3])
            rotate(query[rows], cos[:, None], back[:, None], mixed[:, :, :-2])
            rotate(key[rows], cos, back, mixed[:, :, -2])
            mixed[:, :, -1] = value[rows]
            mixed_CW = mixed.flatten(1)
            add_product(to_weight_WH, mixed_CW, x_lH[rows])
            if ctx.has_bias:
                to_bias_W += mixed_CW.sum(0)
            torch.mm(mixed_CW, weight_WH, out=to_x_lH[rows])
        to_bias = to_bias_W.to(x.dtype) if ctx.has_bias else None
        return to_x_lH.view_as(x), to_weight_WH.to(x.dtype), to_bias, None, None, None


def _chunks(count: int, columns: int) -> Iterator[slice]:
    """Of tokens, for each of which so many numbers are made."""
    height = chunk_height(columns, "cpu")
    for start in range(0, count, height):
        yield slice(start, start + height)


def _sum_like(weight: Tensor) -> Tensor:
    """Zeros to add a weight's gradient up in: chunks are many, so in fp32 whatever the weight is."""
    return torch.zeros_like(weight, dtype=torch.float32)
