"""Starting and ending the ranks: process group, Megatron's parallel groups, random states.

The same code runs one process without any environment, N gloo processes on CPUs, and N NCCL processes on GPUs.
"""

from __future__ import annotations

import ctypes
import os
import sys
from datetime import timedelta
from types import TracebackType

import torch
import torch.distributed as dist

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.errors import ConfigError
from nemo_prorl.megatron.cpu import open_door
from nemo_prorl.megatron.machine import Machine, machine_problems
from nemo_prorl.world import (
    TorchWorld,
    local_rank_from_environment,
    rank_from_environment,
    world_size_from_environment,
)

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


class Runtime:
    """A running rank. Use it in a `with`: leaving it ends Megatron's groups and the process group.

    device  where this rank computes
    world   the other ranks, for objects on the CPU (gloo, beside NCCL where that is used)
    """

    def __init__(self, config: MegatronConfig, device: torch.device) -> None:
        from megatron.core import parallel_state

        self.config, self.device = config, device
        objects = dist.new_group(backend="gloo", timeout=_timeout(config)) if device.type == "cuda" else None
        self.world = TorchWorld(
            data_rank=parallel_state.get_data_parallel_rank(),
            data_size=parallel_state.get_data_parallel_world_size(),
            group=objects,
        )

    def world_of_its_own(self) -> TorchWorld:
        """Collective: the same ranks once more, for a thread that must not get in the way of this one."""
        group = dist.new_group(backend="gloo", timeout=_timeout(self.config))
        return TorchWorld(data_rank=self.world.data_rank, data_size=self.world.data_size, group=group)

    @classmethod
    def start(cls, config: MegatronConfig, *, seed: int, torch_threads: int) -> Runtime:
        """Join the other ranks, which torchrun or srun started; alone if nobody did.

        Raises:
            ConfigError: CUDA is asked for and absent, this rank has no GPU left, its machine can't do what the settings
                ask of it, or nobody said where the others are.
        """
        device = _device(config.device)
        if problems := list(machine_problems(config, Machine.found(device))):
            raise ConfigError("\n".join(problems))
        torch.set_num_threads(torch_threads)
        if device.type == "cuda":
            torch.cuda.set_device(device)
        else:
            _keep_freed_memory()
        join_ranks("nccl" if device.type == "cuda" else "gloo", _timeout(config))
        open_door()
        from megatron.core import parallel_state, tensor_parallel

        parallel_state.initialize_model_parallel(
            tensor_model_parallel_size=config.tensor_parallel_size,
            pipeline_model_parallel_size=config.pipeline_parallel_size,
            virtual_pipeline_model_parallel_size=config.virtual_pipeline_size
            if config.virtual_pipeline_size > 1
            else None,
            context_parallel_size=config.context_parallel_size,
            # Every group has a time limit of its own. Said to be whole minutes, it goes into a timedelta.
            distributed_timeout_minutes=config.collective_timeout_minutes,  # type: ignore[arg-type]
        )
        tensor_parallel.model_parallel_cuda_manual_seed(seed)
        return cls(config, device)

    def close(self) -> None:
        from megatron.core import parallel_state

        parallel_state.destroy_model_parallel()
        if dist.is_initialized():
            dist.destroy_process_group()

    def __enter__(self) -> Runtime:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _device(wanted: str) -> torch.device:
    if wanted == "cuda" and not torch.cuda.is_available():
        raise ConfigError("megatron.device=cuda, but torch sees no CUDA device; use megatron.device=cpu or auto")
    if wanted == "cpu" and torch.cuda.is_available():
        raise ConfigError(
            "megatron.device=cpu on a host with CUDA: Megatron Core would still choose the GPU. "
            "Hide it with CUDA_VISIBLE_DEVICES='' or use megatron.device=auto"
        )
    if not torch.cuda.is_available():
        return torch.device("cpu")
    count, local_rank = torch.cuda.device_count(), local_rank_from_environment()
    if count == 1:  # where each rank is shown its own GPU alone, that is number 0 to all of them
        return torch.device("cuda", 0)
    if local_rank >= count:
        raise ConfigError(
            f"rank {rank_from_environment()} is number {local_rank} of its host, counted from 0, where torch sees "
            f"{count} GPUs: start at most one rank a GPU (torchrun --nproc-per-node {count})"
        )
    return torch.device("cuda", local_rank)


def _keep_freed_memory() -> None:
    """Have glibc keep up to a gigabyte that was freed, where it would keep 64 MB at most.

    A pass over a microbatch allocates as many bytes as the one before it has freed. Asked back from the system, every
    page of them is zeroed again: a tenth of an update's time.
    """
    if not sys.platform.startswith("linux"):
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:  # musl has none
        mallopt(_M_MMAP_THRESHOLD, 32 << 20)  # to where it grows by itself, which it doesn't once the other is set
        mallopt(_M_TRIM_THRESHOLD, 1 << 30)


def _timeout(config: MegatronConfig) -> timedelta:
    return timedelta(minutes=config.collective_timeout_minutes)


def join_ranks(backend: str, timeout: timedelta) -> None:
    """Make torch's process group of all ranks.

    Raises:
        ConfigError: nobody said where they meet.
    """
    world_size = world_size_from_environment()
    if world_size == 1 and "MASTER_ADDR" not in os.environ:
        dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1, timeout=timeout)
        return
    rank = rank_from_environment()
    missing = [name for name in ("MASTER_ADDR", "MASTER_PORT") if name not in os.environ]
    if missing:
        raise ConfigError(
            f"rank {rank} of {world_size} can't find the others: {' and '.join(missing)} not set. "
            "Start with torchrun, or export them in the sbatch script"
        )
    dist.init_process_group(backend, rank=rank, world_size=world_size, timeout=timeout)
