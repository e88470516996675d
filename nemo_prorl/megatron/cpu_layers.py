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

from nemo_prorl.megatron.attention import PackedInput, PackedSelfAttention
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
        kept_NF = x.new_empty(len(x_NH) if is_kept else 0, width)
        for rows in _chunks(x_NH, width):
            both_CF = torch.mm(x_NH[rows], gate_up_FH.t(), **({"out": kept_NF[rows]} if is_kept else {}))
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
        for rows in _chunks(x_NH, len(gate_up_FH)):
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
    """x [l, 1, H] -> queries and keys, turned, and values: [l, groups, heads, D], [l, groups, D] and [l, groups, D].

    For turning, the halves of a head's numbers are interleaved, queries and keys alike, which their products don't see:
    then it is one multiplication of complex numbers, where slices of a few numbers each would take four times as long.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight_WH: Tensor, bias_W: Tensor | None, cos_lD: Tensor, sin_lD: Tensor, groups: int
    ) -> tuple[Tensor, ...]:
        x_lH, turn_lD = x.flatten(0, -2), torch.complex(cos_lD, sin_lD)[:, None]
        order_W, sizes = _queries_keys_values(len(weight_WH), groups, 2 * cos_lD.shape[1])
        ctx.save_for_backward(x, weight_WH, turn_lD, order_W)
        ctx.has_bias, ctx.turned = bias_W is not None, sizes[0] + sizes[1]
        ordered_WH, ordered_W = weight_WH[order_W], None if bias_W is None else bias_W[order_W]
        mixed_lW = x.new_empty(len(x_lH), len(weight_WH))
        for rows in _chunks(x_lH, len(weight_WH)):
            mixed_lW[rows] = _turned(F.linear(x_lH[rows], ordered_WH, ordered_W), turn_lD[rows], ctx.turned)
        query, key, value = (part.unflatten(1, (groups, -1)) for part in mixed_lW.split(sizes, dim=1))
        return query.unflatten(2, (-1, key.shape[2])), key, value

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight_WH, turn_lD, order_W = ctx.saved_tensors
        x_lH, ordered_WH, back_lD = x.flatten(0, -2), weight_WH[order_W], turn_lD.conj()
        to_x_lH, to_weight_WH = torch.empty_like(x_lH), _sum_like(weight_WH)
        to_bias_W = to_weight_WH.new_zeros(len(weight_WH))
        for rows in _chunks(x_lH, len(weight_WH)):
            mixed_CW = torch.cat([gradient[rows].flatten(1) for gradient in gradients], dim=1)
            mixed_CW = _turned(mixed_CW, back_lD[rows], ctx.turned)
            add_product(to_weight_WH, mixed_CW, x_lH[rows])
            if ctx.has_bias:
                to_bias_W += mixed_CW.sum(0)
            torch.mm(mixed_CW, ordered_WH, out=to_x_lH[rows])
        place_W = order_W.argsort()
        to_bias = to_bias_W[place_W].to(x.dtype) if ctx.has_bias else None
        return to_x_lH.view_as(x), to_weight_WH[place_W].to(x.dtype), to_bias, None, None, None


def _queries_keys_values(width: int, groups: int, size: int) -> tuple[Tensor, list[int]]:
    """Which rows of a projection by query group make all queries, all keys and all values, and how many of each.

    Numbers of queries and keys are interleaved: the first half's first, the second half's first, ...
    """
    rows = torch.arange(width).view(groups, -1, size)
    interleaved = rows.unflatten(2, (2, -1)).transpose(2, 3).flatten(2)
    parts = [interleaved[:, :-2].flatten(), interleaved[:, -2].flatten(), rows[:, -1].flatten()]
    return torch.cat(parts), [len(part) for part in parts]


def _turned(mixed_CW: Tensor, turn_CD: Tensor, width: int) -> Tensor:
    """The first `width` numbers of each row turned, in place where their dtype allows."""
    numbers = mixed_CW[:, :width].float().unflatten(1, (-1, turn_CD.shape[-1], 2))
    torch.view_as_complex(numbers).mul_(turn_CD)
    if mixed_CW.dtype != torch.float32:
        mixed_CW[:, :width] = numbers.flatten(1)
    return mixed_CW


def _chunks(x_NH: Tensor, columns: int) -> Iterator[slice]:
    """So many rows of x that what is made of them, `columns` numbers each, is a megabyte.

    But at least 256, which are worth reading the weights for.
    """
    height = max(256, (1 << 18) // columns)
    for start in range(0, len(x_NH), height):
        yield slice(start, start + height)


def _sum_like(weight: Tensor) -> Tensor:
    """Zeros to add a weight's gradient up in: chunks are many, so in fp32 whatever the weight is."""
    return torch.zeros_like(weight, dtype=torch.float32)
