"""The other ranks, as the trainer sees them.

Every rank runs the same program. Rollouts are shared out over all ranks (`rank` of `size`); the update is shared out
over data-parallel ranks (`data_rank` of `data_size`): ranks of one tensor x pipeline group train on the same data.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, TypeVar

from nemo_prorl.errors import PeerLostError, ProRLError, Stopped, TrainingError

T = TypeVar("T")


def rank_from_environment(environment: Mapping[str, str] = os.environ) -> int:
    """This process's rank as torchrun or srun tells it; 0 without either."""
    return int(environment.get("RANK") or environment.get("SLURM_PROCID") or 0)


def local_rank_from_environment(environment: Mapping[str, str] = os.environ) -> int:
    """This process's rank on its own host."""
    return int(environment.get("LOCAL_RANK") or environment.get("SLURM_LOCALID") or 0)


def world_size_from_environment(environment: Mapping[str, str] = os.environ) -> int:
    """Ranks of this run as torchrun or srun tells them; 1 without either."""
    return int(environment.get("WORLD_SIZE") or environment.get("SLURM_NTASKS") or 1)


def ranks_have_met() -> bool:
    """Whether all ranks have come together in torch's process group; says so without loading torch."""
    is_initialized = getattr(sys.modules.get("torch.distributed"), "is_initialized", None)
    return is_initialized is not None and bool(is_initialized())


class Exchange(Protocol):
    """A collective under way, while this rank does something else."""

    def is_done(self) -> bool:
        """Whether every rank has come to it."""
        ...

    def result(self) -> list[int]:
        """What came of it, the same on every rank; waits until it is done."""
        ...


class World(Protocol):
    """What a rank can ask of the others. Every method is collective: all ranks call it, in the same order."""

    rank: int
    size: int
    data_rank: int
    data_size: int

    @property
    def is_main(self) -> bool:
        """True on the one rank that writes files and talks to the user."""
        ...

    def gather(self, value: T) -> list[T]:
        """Every rank's `value`, in rank order, on every rank."""
        ...

    def broadcast(self, value: T) -> T:
        """The main rank's `value` on every rank."""
        ...

    def share_out(self, held: Mapping[int, T], wanted: Sequence[int]) -> list[T]:
        """Items by key: this rank gives the ones it holds and gets those it wants, in the order of `wanted`."""
        ...

    def begin_maximum(self, values: Sequence[int]) -> Exchange:
        """Begin to take the largest of every rank's `values`, place by place; equally many on every rank.

        Until its result is known on a rank, that rank begins nothing else that is collective.
        """
        ...

    def barrier(self) -> None:
        """Return when every rank has come here."""
        ...


def gather_or_raise(world: World, value: T, failure: Exception | None, doing: str) -> list[T]:
    """Every rank's `value`; or, when a rank has failed, an error on all of them, so that none waits for another.

    The rank that failed raises its own error. The others raise one of the same class, which decides on the exit code
    (PeerLostError where it is none of ours), naming the rank and what all were `doing`. When some rank was asked to
    stop, all of them raise `Stopped`, whatever befell another: a stop saves, and that takes every rank.
    """
    told = None
    if failure is not None:
        kind = type(failure) if isinstance(failure, ProRLError) else PeerLostError
        told = kind, str(failure) if isinstance(failure, Stopped) else f"{type(failure).__name__}: {failure}"
    answers = world.gather((value, told))
    stops = [failed[1] for _, failed in answers if failed is not None and failed[0] is Stopped]
    if stops:
        raise Stopped(stops[0])
    if failure is not None:
        raise failure
    for rank, (_, failed) in enumerate(answers):
        if failed is not None:
            kind, text = failed
            raise kind(f"rank {rank} failed while {doing}, so every rank stops. {text}")
    return [answer for answer, _ in answers]


def gather_over_data(world: World, value: T) -> list[T]:
    """Each data rank's `value`, in their order; ranks that train on the same data hold the same. Collective."""
    by_data_rank = dict(world.gather((world.data_rank, value)))
    return [by_data_rank[data_rank] for data_rank in range(world.data_size)]


class LocalWorld:
    """One process and nobody else."""

    rank = data_rank = 0
    size = data_size = 1
    is_main = True

    def gather(self, value: T) -> list[T]:
        return [value]

    def broadcast(self, value: T) -> T:
        return value

    def share_out(self, held: Mapping[int, T], wanted: Sequence[int]) -> list[T]:
        return [_item(held, key) for key in wanted]

    def begin_maximum(self, values: Sequence[int]) -> Exchange:
        return _Known(list(values))

    def barrier(self) -> None:
        pass


class TorchWorld:
    """Ranks of a `torch.distributed` process group that carries CPU objects (gloo, or gloo beside NCCL)."""

    def __init__(self, *, data_rank: int, data_size: int, group: Any = None) -> None:
        import torch.distributed as dist

        self._dist, self.group = dist, group
        self.rank, self.size = dist.get_rank(group), dist.get_world_size(group)
        self.data_rank, self.data_size = data_rank, data_size

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def gather(self, value: T) -> list[T]:
        values: list[Any] = [None] * self.size
        self._dist.all_gather_object(values, value, group=self.group)
        return values

    def broadcast(self, value: T) -> T:
        values = [value]
        self._dist.broadcast_object_list(values, src=0, group=self.group)
        return values[0]

    def share_out(self, held: Mapping[int, T], wanted: Sequence[int]) -> list[T]:
        # An item travels to every rank: simple, and small beside a step (int32 tokens and float32 logprobs).
        needed = set().union(*self.gather(set(wanted)))
        everything: dict[int, T] = {}
        for part in self.gather({key: item for key, item in held.items() if key in needed}):
            everything.update(part)
        return [_item(everything, key) for key in wanted]

    def begin_maximum(self, values: Sequence[int]) -> Exchange:
        import torch

        tensor = torch.tensor(values, dtype=torch.int32)
        work = self._dist.all_reduce(tensor, op=self._dist.ReduceOp.MAX, group=self.group, async_op=True)
        return _Reducing(work, tensor)

    def barrier(self) -> None:
        self._dist.barrier(group=self.group)


class _Known:
    """An exchange with nobody."""

    def __init__(self, values: list[int]) -> None:
        self._values = values

    def is_done(self) -> bool:
        return True

    def result(self) -> list[int]:
        return self._values


class _Reducing:
    """An all-reduce of torch.distributed, into `tensor`."""

    def __init__(self, work: Any, tensor: Any) -> None:
        self._work, self._tensor = work, tensor

    def is_done(self) -> bool:
        return bool(self._work.is_completed())

    def result(self) -> list[int]:
        self._work.wait()
        values: list[int] = self._tensor.tolist()
        return values


def _item(items: Mapping[int, T], key: int) -> T:
    if key not in items:
        raise TrainingError(f"share_out: no rank holds item {key}; this is a bug in the caller, please report it")
    return items[key]
