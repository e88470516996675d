"""A pack as the model takes it: on the device, this context-parallel rank's part, with what its layers are told."""

from __future__ import annotations

from dataclasses import dataclass
from math import lcm
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.packed_seq_params import PackedSeqParams
from torch import Tensor

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.attention import PackedInput, RotaryTable, blocks_of, held_by
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.packing import Pack, Packer
from nemo_prorl.megatron.precision import token_multiple
from nemo_prorl.megatron.scoring import Wanted


def packer_of(config: MegatronConfig, *, uses_te: bool) -> Packer:
    """How rows become microbatches in this layout."""
    cut = config.context_parallel_size
    halves = 2 if cut > 1 else 1  # of each piece, for a zigzag
    shards = config.tensor_parallel_size if config.sequence_parallel else 1  # of a rank's tokens
    return Packer(
        max_tokens=config.max_tokens_per_microbatch * cut,
        packing=config.packing,
        share_prompts=config.share_prompts and not uses_te,  # Transformer Engine knows no such attention
        row_multiple=halves * cut,
        pack_multiple=cut * shards * lcm(halves, token_multiple(config)),
    )


@dataclass(frozen=True)
class Microbatch:
    """`packed` travels to every layer and to the output layer; `own_n` says which of the N scores are this rank's."""

    pack: Pack
    tokens_1l: Tensor
    positions_1l: Tensor
    packed: PackedSeqParams
    own_n: Tensor | None

    def whole(self, scores_2n: Tensor) -> Tensor:
        """[2, N] on every context-parallel rank, from what each of them has scored."""
        if self.own_n is None:
            return scores_2n
        joined: Tensor = _Joined.apply(scores_2n, self.own_n, len(self.pack.targets_N))
        return joined


class Microbatches:
    """Makes them, for one model."""

    def __init__(self, model: PolicyModel, device: torch.device) -> None:
        self._device, self._uses_te = device, model.uses_te
        self._vocab_size = model.architecture.vocab_size
        self._rotary = None if model.uses_te else RotaryTable(model.architecture, device)
        group = parallel_state.get_context_parallel_group()
        self._rank, self._size = group.rank(), group.size()

    def of(self, pack: Pack, temperature: float) -> Microbatch:
        sources_n, targets_n, own_n = pack.sources_N, pack.targets_N, None
        tokens_l, positions_l = pack.tokens_L, pack.positions_L
        if self._size > 1:
            held_l = held_by(pack, self._rank, self._size)
            tokens_l, positions_l = tokens_l[held_l], positions_l[held_l]
            place_L = torch.full((len(pack.tokens_L),), -1)
            place_L[held_l] = torch.arange(len(held_l))
            own_n = (place_L[sources_n] >= 0).nonzero()[:, 0]
            sources_n, targets_n = place_L[sources_n[own_n]], targets_n[own_n]
        wanted = Wanted(self._there(sources_n), self._there(targets_n), temperature, self._vocab_size)
        positions_l = self._there(positions_l)
        return Microbatch(
            pack,
            self._there(tokens_l)[None],
            positions_l[None],
            self._for_te(pack, wanted) if self._uses_te else self._for_ours(pack, positions_l, wanted),
            None if own_n is None else self._there(own_n),
        )

    def _for_ours(self, pack: Pack, positions_l: Tensor, wanted: Wanted) -> PackedInput:
        assert self._rotary is not None
        cos_lD, sin_lD = self._rotary.at(positions_l)
        order_L = None
        if self._size > 1:
            gathered_L = torch.cat([held_by(pack, rank, self._size) for rank in range(self._size)])
            order_L = self._there(gathered_L.argsort())
        return PackedInput(
            blocks=blocks_of(pack.pieces), cos_lD=cos_lD, sin_lD=sin_lD, wanted=wanted, gathered_order_L=order_L
        )

    def _for_te(self, pack: Pack, wanted: Wanted) -> PackedInput:
        ends = torch.tensor([0, *(piece.start + piece.length for piece in pack.pieces)], dtype=torch.int32)
        longest = max(piece.length for piece in pack.pieces)
        lengths: dict[str, Any] = {}
        for side in ("q", "kv"):
            lengths[f"cu_seqlens_{side}"] = lengths[f"cu_seqlens_{side}_padded"] = self._there(ends)
            lengths[f"max_seqlen_{side}"] = longest
        return PackedInput(qkv_format="thd", wanted=wanted, **lengths)

    def _there(self, tensor: Tensor) -> Tensor:
        return tensor.to(self._device, non_blocking=True)


class _Joined(torch.autograd.Function):
    """Every rank's scores in their places. Each rank's own gradient goes back to it: all ranks take the same loss."""

    @staticmethod
    def forward(ctx: Any, scores_2n: Tensor, own_n: Tensor, count: int) -> Tensor:
        ctx.save_for_backward(own_n)
        whole_2N = scores_2n.new_zeros(2, count)
        whole_2N[:, own_n] = scores_2n
        dist.all_reduce(whole_2N, group=parallel_state.get_context_parallel_group())
        return whole_2N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (own_n,) = ctx.saved_tensors
        return gradients[0][:, own_n], None, None
