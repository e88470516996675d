"""What ranks do in the tests of the runtime and of the CPU door."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
import torch.distributed as dist

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.errors import ConfigError
from nemo_prorl.megatron.runtime import Runtime
from tests.megatron.scenarios import losses
from tests.tiny_models import tiny_hf_folder


def behind_the_door() -> dict[str, Any]:
    """What is different after the door was opened and a bf16 model with tied embeddings was built and trained."""
    owners = {"torch": torch, "torch.Tensor": torch.Tensor, "torch.cuda": torch.cuda, "torch.autograd": torch.autograd}
    before = {(name, key): value for name, owner in owners.items() for key, value in vars(owner).items()}
    with tempfile.TemporaryDirectory() as root:
        folder = tiny_hf_folder(Path(root), "qwen2", tied=True)
        losses(folder, {"precision": "bf16", "distributed_optimizer": True}, updates=1)
    changed = [
        f"{name}.{key}"
        for (name, key), value in before.items()
        if vars(owners[name]).get(key) is not value and not key.startswith("_") and not isinstance(value, ModuleType)
    ]
    added = [
        f"{name}.{key}"
        for name, owner in owners.items()
        for key in vars(owner)
        if (name, key) not in before and not key.startswith("_") and not isinstance(vars(owner)[key], ModuleType)
    ]
    import megatron.core.transformer.moe.router as late_module
    import megatron.core.utils as early_module

    try:
        torch.zeros(1, device="cuda")
        error = None
    except Exception as raised:
        error = type(raised).__name__
    return {
        "changed in torch": changed,
        "added to torch": added,
        "megatron makes tensors on": early_module.torch.zeros(1, device="cuda").device.type,
        "megatron's late modules see the proxy": late_module.torch is early_module.torch is not torch,
        "cuda for us": error,
    }


def hello() -> dict[str, Any]:
    """Who this rank is, and that the world's verbs work."""
    with Runtime.start(MegatronConfig(), seed=0, torch_threads=1) as runtime:
        world = runtime.world
        return {
            "rank": (world.rank, world.size, world.data_rank, world.data_size, world.is_main),
            "gathered": world.gather(world.rank * 10),
            "broadcast": world.broadcast(f"from {world.rank}"),
            "shared": world.share_out({world.rank: f"item {world.rank}"}, [world.size - 1, 0]),
            "device": str(runtime.device),
        }


def started_with(environment: Mapping[str, str], settings: Mapping[str, Any]) -> str | tuple[int, int]:
    """(rank, size) under an environment of our own, or the error."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name)
    os.environ.update(environment)
    try:
        with Runtime.start(MegatronConfig(**settings), seed=0, torch_threads=1) as runtime:
            return runtime.world.rank, runtime.world.size
    except ConfigError as error:
        return str(error)


def twice() -> list[int]:
    """A runtime can be started again after it was closed."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name)
    sizes = []
    for _ in range(2):
        with Runtime.start(MegatronConfig(), seed=0, torch_threads=1) as runtime:
            sizes.append(runtime.world.size)
    return sizes


def fails() -> str:
    return os.environ["RANKS"]


def time_limits(settings: Mapping[str, Any]) -> set[float]:
    """Minutes after which a collective of any process group gives up.

    But for that of experts (parallel_state.py:1278), to which Megatron gives no limit: there are none here.
    """
    with Runtime.start(MegatronConfig(**settings), seed=0, torch_threads=1):
        groups = [group for group in dist.distributed_c10d._world.pg_map if "EXPERT" not in group.group_desc]
        assert len(groups) > 1
        backends = [group._get_backend(torch.device("cpu")) for group in groups]
        return {backend.options._timeout.total_seconds() / 60 for backend in backends}
