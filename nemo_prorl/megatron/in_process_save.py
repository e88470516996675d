"""Megatron's torch_dist format, written by the rank itself.

Megatron's own writer starts processes that import the program again; that needs a guarded main module, leaves a rank
hanging when a helper dies, and is slower than writing for all but the largest models. Here torch's plain writer does
it. The files are the same.
"""

from __future__ import annotations

from pathlib import Path

import torch.distributed.checkpoint as torch_checkpoint
from megatron.core.dist_checkpointing.mapping import ShardedStateDict
from megatron.core.dist_checkpointing.strategies.base import SaveShardedStrategy
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)


class InProcessSave(SaveShardedStrategy):
    """A save strategy for `dist_checkpointing.save`."""

    def __init__(self) -> None:
        super().__init__("torch_dist", 1)

    @property
    def can_handle_sharded_objects(self) -> bool:
        return True

    def save(self, sharded_state_dict: ShardedStateDict, checkpoint_dir: str | Path) -> None:
        renamed, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded_state_dict, True)
        torch_checkpoint.save(
            mcore_to_pyt_state_dict(renamed, False),
            storage_writer=torch_checkpoint.FileSystemWriter(
                checkpoint_dir, single_file_per_rank=True, sync_files=False, thread_count=1
            ),
            planner=MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False),
        )
