"""What ranks do in the tests of single modules: core attention, self-attention, MLP, norm. And a pack's whole mask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from megatron.core import parallel_state
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.attention import PackedAttention, PackedInput, PackedSelfAttention, blocks_of, held_by
from nemo_prorl.megatron.microbatch import Microbatches
from nemo_prorl.megatron.modules import PackedMLP
from nemo_prorl.megatron.packing import Pack, Piece
from nemo_prorl.megatron.runtime import Runtime
from tests.megatron.scenarios import TEMPERATURE, Engine, engine, gradients_as_weights

HEADS, GROUPS, SIZE = 4, 2, 6


def allowed(pieces: Sequence[Piece]) -> Tensor:
    """bool [L, L]: what a query may look at."""
    length = sum(piece.length for piece in pieces)
    allowed_LL = torch.zeros(length, length, dtype=torch.bool)
    for piece in pieces:
        for query in range(piece.start, piece.start + piece.length):
            allowed_LL[query, piece.start : query + 1] = True
            if piece.after is not None:
                prompt = pieces[piece.after]
                allowed_LL[query, prompt.start : prompt.start + prompt.length] = True
    return allowed_LL


def attended(packs: Sequence[Pack], heads: Sequence[Sequence[Tensor]], weights: Sequence[Tensor], ranks: int) -> Any:
    """For each pack this rank's tokens of it, what core attention makes of them, and the gradients of q, k and v.

    heads    of each pack q [L, HEADS, SIZE], and k and v [L, GROUPS, SIZE]
    weights  [L, HEADS * SIZE]: of the loss that the gradients are of
    """
    told = []
    with Runtime.start(MegatronConfig(context_parallel_size=ranks), seed=0, torch_threads=1):
        config = TransformerConfig(
            num_layers=1,
            hidden_size=HEADS * SIZE,
            num_attention_heads=HEADS,
            num_query_groups=GROUPS,
            context_parallel_size=ranks,
        )
        attention = PackedAttention(config, 1, None, "self")
        rank = parallel_state.get_context_parallel_rank()
        for pack, whole, weight_L in zip(packs, heads, weights, strict=True):
            held_l = held_by(pack, rank, ranks)
            order_L = torch.cat([held_by(pack, other, ranks) for other in range(ranks)]).argsort()
            packed = PackedInput(blocks=blocks_of(pack.pieces), gathered_order_L=order_L if ranks > 1 else None)
            own = [tensor[held_l].clone().requires_grad_() for tensor in whole]
            context = attention(packed, *own)
            (context[:, 0] * weight_L[held_l]).sum().backward()
            told.append((held_l, context.detach()[:, 0], [tensor.grad for tensor in own]))
    return told


def of_the_first_layer(
    folder: Path, settings: Mapping[str, Any], as_on_gpu: bool, pack: Pack, hidden_LH: Tensor, weights_LH: Tensor
) -> dict[str, Any]:
    """By transformers' name of a module of the first layer: its output, and gradients of input and parameters."""
    with engine(folder, settings) as run:
        layer = run.model.gpts[0].decoder.layers[0]
        if as_on_gpu:  # with the modules that take all tokens at once; parameters are the same
            layer.self_attention.__class__, layer.mlp.__class__ = PackedSelfAttention, PackedMLP
        packed = Microbatches(run.model, run.runtime.device).of(pack, TEMPERATURE).packed
        modules = {
            "input_layernorm": layer.input_layernorm,
            "self_attn": lambda hidden: layer.self_attention(hidden, None, packed_seq_params=packed)[0],
            "mlp": lambda hidden: layer.mlp(hidden)[0],
        }
        return {name: _computed(run, module, hidden_LH, weights_LH) for name, module in modules.items()}


def _computed(run: Engine, module: Any, hidden_LH: Tensor, weights_LH: Tensor) -> tuple[Tensor, Tensor, dict[str, Any]]:
    for chunk in run.model.chunks:
        chunk.zero_grad_buffer()
    dtype = next(run.model.parameters()).dtype
    hidden_L1H = hidden_LH[:, None].to(dtype, copy=True).requires_grad_()
    output_L1H = module(hidden_L1H)
    (output_L1H[:, 0] * weights_LH).sum().backward()
    with gradients_as_weights(run.model):
        assert hidden_L1H.grad is not None
        return output_L1H.detach()[:, 0], hidden_L1H.grad[:, 0], run.weights()
