"""Parameters of all ranks of one model on each of them, a bucket at a time, the next one under way meanwhile."""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.fp8_utils import dequantize_fp8_tensor, is_float8tensor
from torch import Tensor

# Below what glibc asks the system for each time, and gets as fresh pages (see Runtime); and enough for one message.
BUCKET_BYTES = 28 << 20
ALIGNMENT_BYTES = 16


@dataclass(frozen=True)
class Held:
    """A parameter as each tensor-parallel rank of pipeline stage `stage` holds it: its shard's shape and dtype."""

    name: str
    stage: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def bytes(self) -> int:
        """Of a shard, with what is left free after it."""
        count = torch.Size(self.shape).numel() * self.dtype.itemsize
        return -(-count // ALIGNMENT_BYTES) * ALIGNMENT_BYTES


class Gathering:
    """One model's ranks: tensor-parallel ranks of every pipeline stage. Every method is collective among them.

    Each bucket travels as one message from every tensor-parallel rank of the stage that holds it to all the others: so
    what is in flight are two buckets at most, and a rank holds no other copy.
    """

    def __init__(self, mine: Mapping[str, Tensor]) -> None:
        self._mine, self._group = mine, parallel_state.get_model_parallel_group()
        self._place = (
            parallel_state.get_pipeline_model_parallel_rank(),
            parallel_state.get_tensor_model_parallel_rank(),
        )
        held = [(name, tuple(tensor.shape), tensor.dtype) for name, tensor in mine.items()]
        told: list[Any] = [None] * self._group.size()
        dist.all_gather_object(told, (self._place, held), group=self._group)
        self._rank_at = {place: dist.get_global_rank(self._group, rank) for rank, (place, _) in enumerate(told)}
        self.held: dict[str, Held] = {}
        for (stage, _), parameters in sorted(told, key=lambda one: one[0]):
            for name, shape, dtype in parameters:
                self.held.setdefault(name, Held(name, stage, shape, dtype))

    def shards(self, names: Sequence[str], bucket_bytes: int = BUCKET_BYTES) -> Iterator[tuple[str, list[Tensor]]]:
        """For each of `names` the shards of all tensor-parallel ranks, in rank order.

        They may be kept: nothing is written to their memory again, unless it is a parameter's of this rank, which a
        shard may be. A bucket is of `bucket_bytes`, or of one larger parameter. The next one is on its way while one is
        looked at.
        """
        buckets = _cut([self.held[name] for name in names], bucket_bytes // self._tp_size)
        following = self._begin(buckets[0], bucket_bytes) if buckets else None
        for number, bucket in enumerate(buckets):
            assert following is not None
            memory, works = following
            for work in works:
                work.wait()
            following = self._begin(buckets[number + 1], bucket_bytes) if number + 1 < len(buckets) else None
            offset = 0
            for one in bucket:
                yield one.name, [_view(row, offset, one) for row in memory]
                offset += one.bytes
            del memory

    def _begin(self, bucket: Sequence[Held], bucket_bytes: int) -> tuple[Tensor, list[Any]]:
        """[TP ranks, bytes], and the messages that fill it."""
        stage, size = bucket[0].stage, sum(one.bytes for one in bucket)
        own_stage, own_rank = self._place
        memory = self._parameter_itself(bucket) if own_stage == stage else None
        if memory is None:
            # All of one size: what a bucket leaves behind then fits the next but one, where it would be fresh pages.
            whole = _memory(max(bucket_bytes, self._tp_size * size), next(iter(self._mine.values())).device)
            memory = whole[: self._tp_size * size].view(self._tp_size, size)
            if own_stage == stage:
                offset = 0
                for one in bucket:
                    _view(memory[own_rank], offset, one).copy_(plain(self._mine[one.name]))
                    offset += one.bytes
        works = [
            dist.broadcast(memory[rank], src=self._rank_at[stage, rank], group=self._group, async_op=True)
            for rank in range(self._tp_size)
        ]
        return memory, works

    def _parameter_itself(self, bucket: Sequence[Held]) -> Tensor | None:
        """[1, bytes]: where a bucket is one whole parameter that this rank holds there is nothing to put together."""
        if self._tp_size > 1 or len(bucket) > 1:
            return None
        parameter = plain(self._mine[bucket[0].name])
        fits = parameter.is_contiguous() and parameter.nbytes == bucket[0].bytes
        return parameter.view(-1).view(torch.uint8)[None] if fits else None

    @property
    def _tp_size(self) -> int:
        return parallel_state.get_tensor_model_parallel_world_size()


def plain(parameter: Tensor) -> Tensor:
    """Detached, and in 16 or 32 bits whatever it is kept in: as the layers' products see it."""
    if not is_float8tensor(parameter):
        return parameter.detach()
    dequantized: Tensor = dequantize_fp8_tensor(parameter.detach())
    return dequantized


def _memory(size: int, device: torch.device) -> Tensor:
    """uint8 [size]. A large one on a CPU is of large pages where the system has them: small ones take it a while."""
    if device.type != "cpu" or size <= BUCKET_BYTES:
        return torch.empty(size, dtype=torch.uint8, device=device)
    pages = mmap.mmap(-1, size)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with suppress(OSError):  # a system without them
            pages.madvise(mmap.MADV_HUGEPAGE)
    return torch.frombuffer(pages, dtype=torch.uint8)


def _cut(held: Sequence[Held], most_bytes: int) -> list[list[Held]]:
    """Parameters in their order, of one stage in each bucket, at most so many bytes of a shard unless it is one."""
    buckets: list[list[Held]] = []
    size = 0
    for one in held:
        if not buckets or buckets[-1][0].stage != one.stage or size + one.bytes > most_bytes:
            buckets.append([])
            size = 0
        buckets[-1].append(one)
        size += one.bytes
    return buckets


def _view(row: Tensor, offset: int, one: Held) -> Tensor:
    """The shard that begins at byte `offset` of a rank's part of a bucket."""
    count = torch.Size(one.shape).numel() * one.dtype.itemsize
    return row[offset : offset + count].view(one.dtype).view(one.shape)
