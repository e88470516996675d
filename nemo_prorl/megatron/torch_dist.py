"""Megatron's torch_dist format, written by each rank itself.

Megatron's own writer starts processes that import the program again; that needs a guarded main module, leaves a rank
hanging when a helper dies, and is slower than writing for all but the largest models. Here torch's plain writer does
it. The files are the same, and `megatron.core.dist_checkpointing.load` reads them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as torch_checkpoint
from megatron.core.dist_checkpointing.core import CheckpointingConfig, save_config
from megatron.core.dist_checkpointing.mapping import ShardedStateDict
from megatron.core.dist_checkpointing.state_dict_utils import save_preprocess
from megatron.core.dist_checkpointing.strategies.common import COMMON_STATE_FNAME
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)

FORMAT, VERSION = "torch_dist", 1


def write_torch_dist(
    state: ShardedStateDict, folder: Path, content: dict[str, Any], on_main: Callable[[Callable[[], Any]], None]
) -> None:
    """What `dist_checkpointing.save` does, step by step, so that no rank waits for another that could not write.

    Collective. `content` tells the loader how the state was laid out. `on_main` runs something on the main rank, and
    fails on every rank when it fails there.
    """
    sharded, common = save_preprocess({**state, "content_metadata": content})
    on_main(lambda: write_object(common, folder / COMMON_STATE_FNAME))
    renamed, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded, True)
    torch_checkpoint.save(
        mcore_to_pyt_state_dict(renamed, False),
        storage_writer=torch_checkpoint.FileSystemWriter(folder, single_file_per_rank=True, thread_count=1),
        planner=MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False),
    )
    on_main(lambda: save_config(CheckpointingConfig(FORMAT, VERSION), str(folder)))


def write_object(thing: Any, path: Path) -> None:
    """`torch.save`, but a disk that is full is an OSError that says so (torch's own is "unexpected pos 704 vs 598")."""
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    path.write_bytes(buffer.getbuffer())
