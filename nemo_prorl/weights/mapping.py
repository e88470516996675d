"""How weights in Hugging Face's layout become Megatron's, and back: each way beside its inverse.

Megatron fuses some projections and cuts most tensors over the ranks of tensor parallelism (TP). An `Operation` says
for one Megatron tensor which Hugging Face tensors it is made of and how. No operation computes with values, they only
move, so that a round trip is exact bit for bit, in any dtype.

Returned tensors may share memory with the given ones; whoever keeps them makes a copy.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from nemo_prorl.errors import WeightsError

LAYER = "{layer}"  # stands in names for a decoder layer's number, from 0, the same on every pipeline stage


class Part(NamedTuple):
    """A tensor as Hugging Face has it."""

    name: str
    shape: tuple[int, ...]


class Piece(NamedTuple):
    """A piece of a whole Megatron tensor: where it begins along each axis, and its values."""

    offsets: tuple[int, ...]
    tensor: Tensor


@dataclass(frozen=True)
class Operation(ABC):
    """One Megatron tensor, made of `parts`. `exported` is False where it repeats what another tensor gives already."""

    parts: tuple[Part, ...]
    exported: bool = True

    @property
    def hf_names(self) -> tuple[str, ...]:
        """Names of the parts, in the order that `to_megatron` takes and `to_hf` gives them."""
        return tuple(part.name for part in self.parts)

    def at_layer(self, layer: int) -> Operation:
        """This operation for decoder layer number `layer`."""
        number = str(layer)
        return replace(self, parts=tuple(Part(part.name.replace(LAYER, number), part.shape) for part in self.parts))

    @abstractmethod
    def to_megatron(self, hf_tensors: Sequence[Tensor], tp_rank: int, tp_size: int, padded_vocab: int) -> Tensor:
        """What TP rank `tp_rank` of `tp_size` holds. `padded_vocab` counts the rows of padded vocabulary tensors.

        Raises:
            WeightsError: the tensor can't be cut into `tp_size` equal pieces.
        """

    @abstractmethod
    def to_hf(self, shards: Sequence[Tensor]) -> list[Tensor]:
        """The parts again, from the shards of all TP ranks in rank order."""

    @abstractmethod
    def pieces(self, hf_tensors: Sequence[Tensor], tp_size: int, padded_vocab: int) -> list[Piece]:
        """The whole tensor as a distributed checkpoint holds it, cut so that each of `tp_size` ranks reads its own.

        Raises:
            WeightsError: the tensor can't be cut into `tp_size` equal pieces.
        """

    def shape(self, padded_vocab: int) -> tuple[int, ...]:
        """Shape of the whole tensor, of all ranks together: what has several parts holds the rows of all."""
        return (sum(part.shape[0] for part in self.parts), *self.parts[0].shape[1:])

    def cut(self, tensor: Tensor, axis: int, tp_rank: int, tp_size: int) -> Tensor:
        """Piece `tp_rank` of `tensor` cut along `axis` into `tp_size` equal ones; a view."""
        length = tensor.shape[axis]
        if length % tp_size:
            raise WeightsError(
                f"{', '.join(self.hf_names)}: {length} can't be cut into {tp_size} equal pieces; choose a "
                f"megatron.tensor_parallel_size that divides {length}"
            )
        return tensor.narrow(axis, tp_rank * (length // tp_size), length // tp_size)


@dataclass(frozen=True)
class Copy(Operation):
    """The same tensor on every rank."""

    def to_megatron(self, hf_tensors: Sequence[Tensor], tp_rank: int, tp_size: int, padded_vocab: int) -> Tensor:
        return hf_tensors[0]

    def to_hf(self, shards: Sequence[Tensor]) -> list[Tensor]:
        return [shards[0]]

    def pieces(self, hf_tensors: Sequence[Tensor], tp_size: int, padded_vocab: int) -> list[Piece]:
        return [Piece((0,) * hf_tensors[0].dim(), hf_tensors[0])]


@dataclass(frozen=True)
class RowParallel(Operation):
    """A matrix [out, in] cut along its input."""

    def to_megatron(self, hf_tensors: Sequence[Tensor], tp_rank: int, tp_size: int, padded_vocab: int) -> Tensor:
        return self.cut(hf_tensors[0], 1, tp_rank, tp_size)

    def to_hf(self, shards: Sequence[Tensor]) -> list[Tensor]:
        return [_joined(shards, axis=1)]

    def pieces(self, hf_tensors: Sequence[Tensor], tp_size: int, padded_vocab: int) -> list[Piece]:
        cuts = [self.to_megatron(hf_tensors, rank, tp_size, padded_vocab) for rank in range(tp_size)]
        return [Piece((0, rank * cut.shape[1]), cut) for rank, cut in enumerate(cuts)]


@dataclass(frozen=True)
class FusedQKV(Operation):
    """q, k and v, weights [*, in] or biases [*], stored by query group: its query heads, its key head, its value head.

    A rank holds whole groups: with 4 heads in 2 groups TP rank 0 of 2 has q0 q1 k0 v0, and rank 1 has q2 q3 k1 v1.
    """

    groups: int = 1

    def to_megatron(self, hf_tensors: Sequence[Tensor], tp_rank: int, tp_size: int, padded_vocab: int) -> Tensor:
        by_group = [tensor.reshape(self.groups, -1, *tensor.shape[1:]) for tensor in hf_tensors]
        return torch.cat([self.cut(tensor, 0, tp_rank, tp_size) for tensor in by_group], dim=1).flatten(0, 1)

    def to_hf(self, shards: Sequence[Tensor]) -> list[Tensor]:
        fused = _joined(shards, axis=0)
        by_group = fused.reshape(self.groups, -1, *fused.shape[1:])
        rows = [part.shape[0] // self.groups for part in self.parts]
        return [tensor.flatten(0, 1) for tensor in torch.split(by_group, rows, dim=1)]

    def pieces(self, hf_tensors: Sequence[Tensor], tp_size: int, padded_vocab: int) -> list[Piece]:
        cuts = [self.to_megatron(hf_tensors, rank, tp_size, padded_vocab) for rank in range(tp_size)]
        return [Piece((rank * len(cut),) + (0,) * (cut.dim() - 1), cut) for rank, cut in enumerate(cuts)]


@dataclass(frozen=True)
class FusedGateUp(Operation):
    """The two input matrices [ffn, in] of SwiGLU. Each rank stacks its rows of gate on its rows of up."""

    def to_megatron(self, hf_tensors: Sequence[Tensor], tp_rank: int, tp_size: int, padded_vocab: int) -> Tensor:
        return torch.cat([self.cut(tensor, 0, tp_rank, tp_size) for tensor in hf_tensors])

    def to_hf(self, shards: Sequence[Tensor]) -> list[Tensor]:
        halves = [shard.chunk(2) for shard in shards]
        return [_joined([gate for gate, _ in halves], axis=0), _joined([up for _, up in halves], axis=0)]

    def pieces(self, hf_tensors: Sequence[Tensor], tp_size: int, padded_vocab: int) -> list[Piece]:
        """All of gate comes before all of up: what a rank stacks lies apart, and nothing has to be copied."""
        return [
            Piece((half * len(tensor) + rank * len(tensor) // tp_size, 0), self.cut(tensor, 0, rank, tp_size))
            for half, tensor in enumerate(hf_tensors)
            for rank in range(tp_size)
        ]


@dataclass(frozen=True)
class Vocabulary(Operation):
    """A matrix [vocabulary, hidden] cut by rows. Rows that pad the vocabulary are zero in Megatron, absent in HF."""

    def to_megatron(self, hf_tensors: Sequence[Tensor], tp_rank: int, tp_size: int, padded_vocab: int) -> Tensor:
        (embedding,) = hf_tensors
        rows = len(embedding)
        self._check_padding(rows, tp_size, padded_vocab)
        height = padded_vocab // tp_size
        held = embedding[tp_rank * height : (tp_rank + 1) * height]
        padding = embedding.new_zeros(height - len(held), *embedding.shape[1:])
        return torch.cat([held, padding]) if len(padding) else held

    def to_hf(self, shards: Sequence[Tensor]) -> list[Tensor]:
        return [_joined(shards, axis=0)[: self.parts[0].shape[0]]]

    def shape(self, padded_vocab: int) -> tuple[int, ...]:
        (part,) = self.parts
        self._check_padding(part.shape[0], 1, padded_vocab)
        return (padded_vocab, *part.shape[1:])

    def pieces(self, hf_tensors: Sequence[Tensor], tp_size: int, padded_vocab: int) -> list[Piece]:
        """Padding has pieces of its own, so that the rows aren't copied."""
        (embedding,) = hf_tensors
        rows, height = len(embedding), padded_vocab // tp_size
        self._check_padding(rows, tp_size, padded_vocab)
        edges = sorted({*range(0, padded_vocab + 1, height), rows})
        return [
            Piece(
                (begin, 0),
                embedding[begin:end] if begin < rows else embedding.new_zeros(end - begin, *embedding.shape[1:]),
            )
            for begin, end in itertools.pairwise(edges)
        ]

    def _check_padding(self, rows: int, tp_size: int, padded_vocab: int) -> None:
        if padded_vocab < rows or padded_vocab % tp_size:
            raise WeightsError(
                f"{self.hf_names[0]}: padded_vocab={padded_vocab} must be a multiple of tensor_parallel_size={tp_size} "
                f"and at least the {rows} rows of the model"
            )


def expand(table: Mapping[str, Operation], num_layers: int) -> dict[str, Operation]:
    """A family's table with layer numbers filled in: {Megatron's name: operation}, in the order weights are streamed.

    Layered entries follow one another in `table`; they come out layer by layer.
    """
    names = list(table)
    layered = [name for name in names if LAYER in name]
    first = names.index(layered[0])
    before, after = names[:first], names[first + len(layered) :]
    expanded = {name: table[name] for name in before}
    for layer in range(num_layers):
        expanded |= {name.replace(LAYER, str(layer)): table[name].at_layer(layer) for name in layered}
    return expanded | {name: table[name] for name in after}


def hf_parts(operations: Mapping[str, Operation]) -> Iterator[Part]:
    """Every tensor of the Hugging Face model, once, in the order weights are streamed."""
    for operation in operations.values():
        if operation.exported:
            yield from operation.parts


def _joined(shards: Sequence[Tensor], axis: int) -> Tensor:
    """One tensor; a view where the shards lie in memory one after another already, as those of a large one do."""
    if len(shards) == 1:
        return shards[0]
    return _as_one(shards) if axis == 0 and _are_adjacent(shards) else torch.cat(list(shards), dim=axis)


def _are_adjacent(shards: Sequence[Tensor]) -> bool:
    return all(shard.is_contiguous() for shard in shards) and all(
        one.untyped_storage().data_ptr() == other.untyped_storage().data_ptr()
        and one.storage_offset() + one.numel() == other.storage_offset()
        for one, other in itertools.pairwise(shards)
    )


def _as_one(shards: Sequence[Tensor]) -> Tensor:
    rows = sum(len(shard) for shard in shards)
    return shards[0].as_strided((rows, *shards[0].shape[1:]), shards[0].stride())
