"""Core attention over packs, on any device, for Megatron's local layer specs; rotary embedding included.

Letters: L tokens of a pack (l of them on this rank where context parallelism cuts it), D a head's size. Pieces of a
pack don't see each other, but for a response, which sees its prompt: block-diagonal attention, one call of torch's
scaled_dot_product_attention for each block, so that nothing between pieces is ever computed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding
from megatron.core.packed_seq_params import PackedSeqParams
from megatron.core.tensor_parallel import checkpoint
from megatron.core.tensor_parallel.mappings import gather_from_sequence_parallel_region
from megatron.core.transformer.attention import SelfAttention
from megatron.core.transformer.module import MegatronModule
from megatron.core.transformer.transformer_config import TransformerConfig
from torch import Tensor

from nemo_prorl.megatron.packing import Pack, Piece
from nemo_prorl.megatron.scoring import Wanted
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.rope import attention_factor
from nemo_prorl.weights.rotary_frequencies import rotary_frequencies


class Block(NamedTuple):
    """Some pieces of equal length, attended to in one call. `after`: the number of the block that they see whole."""

    pieces: int
    length: int
    after: int | None

    @property
    def tokens(self) -> int:
        return self.pieces * self.length


def blocks_of(pieces: tuple[Piece, ...]) -> list[Block]:
    """The pieces as blocks, in order: neighbours of one kind and length are one, unless others come after them."""
    prompts = {piece.after for piece in pieces}
    blocks: list[Block] = []
    block_of: dict[int, int] = {}  # piece number -> block number
    open_to_more = False
    for number, piece in enumerate(pieces):
        after = None if piece.after is None else block_of[piece.after]
        stands_alone = number in prompts
        if open_to_more and not stands_alone and blocks[-1][1:] == (piece.length, after):
            blocks[-1] = blocks[-1]._replace(pieces=blocks[-1].pieces + 1)
        else:
            blocks.append(Block(1, piece.length, after))
        block_of[number] = len(blocks) - 1
        open_to_more = not stands_alone
    return blocks


@dataclass
class PackedInput(PackedSeqParams):
    """What every layer is told about a pack: it travels through Megatron's model in the place of PackedSeqParams.

    Its `qkv_format` isn't "thd": Megatron's own attention module then leaves shapes and positions to us.
    """

    blocks: list[Block] | None = None
    cos_lD: Tensor | None = None
    sin_lD: Tensor | None = None
    wanted: Wanted | None = None
    gathered_order_L: Tensor | None = None  # context parallelism: where each token of the pack is in what all gather


class RotaryTable:
    """Cosines and sines of every position, by the architecture's own frequencies; made as long as is asked for."""

    def __init__(self, architecture: Architecture, device: torch.device) -> None:
        theta, scaling = architecture.rope_theta, architecture.rope_scaling
        self._embedding = RotaryEmbedding(
            architecture.head_dim,
            rotary_percent=1.0,
            rotary_base=theta,
            use_cpu_initialization=device.type == "cpu",
        )
        self._embedding.inv_freq = rotary_frequencies(architecture.head_dim, theta, scaling).to(device)
        self._factor = attention_factor(scaling)
        self._cos_PD = self._sin_PD = torch.zeros(0, architecture.head_dim // 2, device=device)

    def at(self, positions_l: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines [l, D / 2], fp32."""
        longest = int(positions_l.max()) + 1
        if longest > len(self._cos_PD):
            cos_PD, sin_PD = self._embedding.get_cos_sin(max(longest, 2 * len(self._cos_PD)))
            self._cos_PD, self._sin_PD = cos_PD * self._factor, sin_PD * self._factor
        return self._cos_PD[positions_l], self._sin_PD[positions_l]


class PackedSelfAttention(SelfAttention):
    """Megatron's self-attention with its parameters, but heads are split and turned in one step, by position in a row.

    Without the copies that splitting and concatenating cost; everything Megatron's own does for inference is absent.
    """

    def forward(
        self, hidden_states: Tensor, attention_mask: Tensor | None, *, packed_seq_params: PackedInput, **_: Any
    ) -> tuple[Tensor, Tensor | None]:
        """hidden_states [l, 1, H] (l / TP with sequence parallelism) -> the same shape, and the projection's bias."""
        pack = packed_seq_params
        query, key, value = self.heads(hidden_states, pack)
        query = query.flatten(1, 2)
        if self.checkpoint_core_attention and self.training:
            context = checkpoint(partial(self.core_attention, pack), False, query, key, value)
        else:
            context = self.core_attention(pack, query, key, value)
        output: tuple[Tensor, Tensor | None] = self.linear_proj(context)
        return output

    def heads(self, hidden_states: Tensor, pack: PackedInput) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [l, groups, heads of each, D], keys and values [l, groups, D]; the first two are turned."""
        assert pack.cos_lD is not None and pack.sin_lD is not None
        mixed, _bias = self.linear_qkv(hidden_states)
        groups = self.num_query_groups_per_partition
        heads = self.num_attention_heads_per_partition // groups
        mixed = mixed.view(len(mixed), groups, heads + 2, self.hidden_size_per_attention_head)
        if not self.config.qk_layernorm:
            turned: tuple[Tensor, Tensor, Tensor] = _TurnedHeads.apply(mixed, pack.cos_lD, pack.sin_lD)
            return turned
        query, key, value = mixed[:, :, :heads], mixed[:, :, heads], mixed[:, :, heads + 1]
        query = _Turned.apply(self.q_layernorm(query), pack.cos_lD[:, None], pack.sin_lD[:, None])
        return query, _Turned.apply(self.k_layernorm(key), pack.cos_lD, pack.sin_lD), value


class PackedAttention(MegatronModule):
    """Core attention: causal within each piece of a pack; see the module's first lines."""

    def __init__(
        self,
        config: TransformerConfig,
        layer_number: int,
        attn_mask_type: Any,
        attention_type: str,
        attention_dropout: float | None = None,
        softmax_scale: float | None = None,
        cp_comm_type: str | None = None,
        pg_collection: Any = None,
    ) -> None:
        super().__init__(config=config)
        self._scale = softmax_scale or 1.0 / math.sqrt(config.kv_channels)
        self._context_group = parallel_state.get_context_parallel_group()

    def forward(self, pack: PackedInput, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """query [l, heads, D], key and value [l, groups, D] -> [l, 1, heads * D]."""
        assert pack.blocks is not None
        if pack.gathered_order_L is not None:
            key, value = self._whole(key, pack), self._whole(value, pack)
        cut = self._context_group.size()
        sizes = [block.tokens for block in pack.blocks]
        keys, values = key.split(sizes), value.split(sizes)
        parts = []
        for block, q, k, v in zip(pack.blocks, query.split([size // cut for size in sizes]), keys, values, strict=True):
            prompt = None if block.after is None else (keys[block.after], values[block.after])
            parts.append(self._attend(block, q, k, v, prompt))
        return torch.cat(parts).flatten(1).unsqueeze(1)

    def _attend(self, block: Block, q: Tensor, k: Tensor, v: Tensor, prompt: tuple[Tensor, Tensor] | None) -> Tensor:
        """One block: tensors [tokens, heads or groups, D] -> [tokens, heads, D]."""
        q, k, v = (tensor.unflatten(0, (block.pieces, -1)).transpose(1, 2) for tensor in (q, k, v))
        before = 0
        if prompt is not None:
            before = len(prompt[0])
            k, v = (
                torch.cat([shared.transpose(0, 1).expand(block.pieces, -1, -1, -1), own], dim=2)
                for shared, own in zip(prompt, (k, v), strict=True)
            )
        mask = self._mask(block, before, q.device)
        if q.device.type == "cuda" and (mask is not None or q.dtype == torch.float32):
            # Of CUDA's kernels only flash attention, which takes neither, shares key heads; the one left to fall back
            # on would hold the scores of all pairs of tokens.
            k, v = (tensor.repeat_interleave(q.shape[1] // k.shape[1], dim=1) for tensor in (k, v))
        context = F.scaled_dot_product_attention(
            q,
            k,
            v,
            attn_mask=mask,
            is_causal=before == 0 and self._context_group.size() == 1,
            scale=self._scale,
            enable_gqa=q.shape[1] != k.shape[1],
        )
        return context.transpose(1, 2).flatten(0, 1)

    def _mask(self, block: Block, before: int, device: torch.device) -> Tensor | None:
        """bool [queries, keys], true where a query may look; None where plain causality says it."""
        size, rank = self._context_group.size(), self._context_group.rank()
        if size > 1:
            return zigzag(block.length, rank, size, device)[:, None] >= torch.arange(block.length, device=device)
        if before == 0:
            return None
        return torch.ones(block.length, before + block.length, dtype=torch.bool, device=device).tril(before)

    def _whole(self, tensor: Tensor, pack: PackedInput) -> Tensor:
        """Keys or values of the whole pack from this rank's tokens; gradients find their way back to their ranks."""
        gathered = gather_from_sequence_parallel_region(
            tensor, tensor_parallel_output_grad=True, group=self._context_group
        )
        return gathered[pack.gathered_order_L]

    def sharded_state_dict(self, *_: Any, **__: Any) -> dict[str, Any]:
        return {}


# -- rotary embedding --------------------------------------------------------------------------------------------------


class _TurnedHeads(torch.autograd.Function):
    """[l, groups, heads + 2, D] as the projection gives it -> queries and keys, turned, and values.

    Shapes [l, groups, heads, D], [l, groups, D] and [l, groups, D]. The gradient is the turning back, written where the
    projection wants it.
    """

    @staticmethod
    def forward(ctx: Any, mixed: Tensor, cos_lD: Tensor, sin_lD: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        ctx.save_for_backward(cos_lD, sin_lD)
        query, key = torch.empty_like(mixed[:, :, :-2]), torch.empty_like(mixed[:, :, -2])
        _turn(mixed[:, :, :-2], cos_lD[:, None], sin_lD[:, None], query)
        _turn(mixed[:, :, -2], cos_lD, sin_lD, key)
        return query, key, mixed[:, :, -1].contiguous()

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos_lD, sin_lD = ctx.saved_tensors
        query, key, value = gradients
        tokens, groups, heads, size = query.shape
        mixed = query.new_empty(tokens, groups, heads + 2, size)
        _turn(query, cos_lD[:, None], -sin_lD[:, None], mixed[:, :, :-2])
        _turn(key, cos_lD, -sin_lD, mixed[:, :, -2])
        mixed[:, :, -1] = value
        return mixed, None, None


class _Turned(torch.autograd.Function):
    """The same for one tensor [l, ..., D]."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, cos_lD: Tensor, sin_lD: Tensor) -> Tensor:
        ctx.save_for_backward(cos_lD, sin_lD)
        return _turn(x, cos_lD, sin_lD, torch.empty_like(x))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        cos_lD, sin_lD = ctx.saved_tensors
        return _turn(gradients[0], cos_lD, -sin_lD, torch.empty_like(gradients[0])), None, None


def _turn(x: Tensor, cos_lD: Tensor, sin_lD: Tensor, into: Tensor) -> Tensor:
    """Rotary embedding in the half-split form: x [l, ..., heads, D], cosines and sines [l, ..., D / 2]."""
    cos, sin = cos_lD.unsqueeze(-2).to(x.dtype), sin_lD.unsqueeze(-2).to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    turned_first, turned_second = into.chunk(2, dim=-1)
    torch.mul(first, cos, out=turned_first).addcmul_(second, sin, value=-1)
    torch.mul(second, cos, out=turned_second).addcmul_(first, sin)
    return into


# -- context parallelism -----------------------------------------------------------------------------------------------


def zigzag(length: int, rank: int, size: int, device: torch.device | None = None) -> Tensor:
    """Which of a piece's tokens rank `rank` of `size` holds: chunk `rank` from the front and from the back.

    So every rank gets as much of a causal attention's work; Transformer Engine cuts sequences the same way.
    """
    chunk = length // (2 * size)
    front = torch.arange(rank * chunk, (rank + 1) * chunk, device=device)
    back = 2 * size - 1 - rank
    return torch.cat([front, torch.arange(back * chunk, (back + 1) * chunk, device=device)])


def held_by(pack: Pack, rank: int, size: int) -> Tensor:
    """Which of a pack's L tokens context-parallel rank `rank` holds, in its order."""
    if size == 1:
        return torch.arange(len(pack.tokens_L))
    return torch.cat([piece.start + zigzag(piece.length, rank, size) for piece in pack.pieces])
