"""Whether the ranks of a job reach each other: one all-reduce, over the network that training would use."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import Literal, NamedTuple

import torch
import torch.distributed as dist

from nemo_prorl.errors import ConfigError
from nemo_prorl.megatron.runtime import join_ranks
from nemo_prorl.world import local_rank_from_environment, rank_from_environment, world_size_from_environment

MIB = 2**20


class Reached(NamedTuple):
    """`met_seconds` until all ranks had found each other; what a warm all-reduce of `mib` MiB takes."""

    backend: str
    met_seconds: float
    mib: int
    seconds: float

    def __str__(self) -> str:
        return f"{self.backend}, met in {self.met_seconds:.1f} s; {self.mib} MiB in {1000 * self.seconds:,.1f} ms"


def all_reduce_once(device: Literal["cpu", "cuda"], timeout_seconds: float, mib: int = 64) -> Reached:
    """Join the other ranks, as training does, and add up a number of theirs. Collective.

    Raises:
        ConfigError: torch sees no GPU for this rank, nobody said where the ranks meet, or the sum is wrong.
        RuntimeError: the others can't be reached in time, as torch tells it.
    """
    place = _place(device)
    size, rank = world_size_from_environment(), rank_from_environment()
    backend = "nccl" if device == "cuda" else "gloo"
    began = time.monotonic()
    join_ranks(backend, timedelta(seconds=max(timeout_seconds, 1.0)))
    try:
        first = torch.full((1,), float(rank + 1), device=place)
        dist.all_reduce(first)
        if first.item() != size * (size + 1) / 2:
            raise ConfigError(f"an all-reduce of 1 to {size} gave {first.item():g}: a link or a GPU miscomputes")
        met = time.monotonic() - began
        return Reached(backend, met, mib, _seconds_of_all_reduce(torch.zeros(mib * MIB // 4, device=place)))
    finally:
        dist.destroy_process_group()


def _seconds_of_all_reduce(values: torch.Tensor) -> float:
    dist.all_reduce(values)
    _settle(values)
    began = time.monotonic()
    dist.all_reduce(values)
    _settle(values)
    return time.monotonic() - began


def _settle(values: torch.Tensor) -> None:
    if values.is_cuda:
        torch.cuda.synchronize(values.device)


def _place(device: Literal["cpu", "cuda"]) -> torch.device:
    if device == "cpu":
        return torch.device("cpu")
    local = local_rank_from_environment()
    if not torch.cuda.is_available() or torch.cuda.device_count() <= local:
        raise ConfigError(
            f"torch sees {torch.cuda.device_count()} GPUs, and this is task {local} of its host: ask for one a task "
            "(--gpus-per-node), and leave --gpus-per-task and --gpu-bind out"
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)
