"""Megatron's torch_dist format, written by each rank itself.

Megatron's own writer starts processes that import the program again; that needs a guarded main module, leaves a rank
hanging when a helper dies, and is slower than writing for all but the largest models. Here torch's plain writer does
it. The files are the same, and `megatron.core.dist_checkpointing.load` reads them.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as torch_checkpoint
from megatron.core.dist_checkpointing.core import CheckpointingConfig, save_config
from megatron.core.dist_checkpointing.mapping import ShardedStateDict, ShardedTensor
from megatron.core.dist_checkpointing.state_dict_utils import save_preprocess
from megatron.core.dist_checkpointing.strategies.common import COMMON_STATE_FNAME
from megatron.core.dist_checkpointing.strategies.torch import (
    MCoreSavePlanner,
    _replace_state_dict_keys_with_sharded_keys,
    mcore_to_pyt_state_dict,
)

FORMAT, VERSION = "torch_dist", 1


@dataclass(frozen=True)
class TorchDist:
    """What this rank is to write: what all ranks have in common, and its own tensors as torch's writer wants them."""

    common: bytes
    tensors: dict[str, Any]

    @classmethod
    def prepare(cls, state: ShardedStateDict, content: dict[str, Any], *, copy: bool) -> TorchDist:
        """The first half of `dist_checkpointing.save`. Collective.

        `content` tells the loader how the state was laid out. `copy`: into memory of the host, so that the state may
        change while this is written; it takes as much as this rank's files.
        """
        sharded, common = save_preprocess({**state, "content_metadata": content})
        written_here, _, _ = _replace_state_dict_keys_with_sharded_keys(sharded, True)
        if copy:
            for entry in (entry for entries in written_here.values() for entry in entries):
                if isinstance(entry, ShardedTensor):
                    entry.data = _copy_on_host(entry.data)
        return cls(serialized(common), mcore_to_pyt_state_dict(written_here, False))

    def write(self, folder: Path, on_main: Callable[[Callable[[], Any]], None], group: Any) -> None:
        """The second half, step by step, so that no rank waits for another that could not write. Collective in `group`.

        `on_main` runs something on the main rank, and fails on every rank when it fails there.
        """
        on_main(lambda: (folder / COMMON_STATE_FNAME).write_bytes(self.common))
        torch_checkpoint.save(
            self.tensors,
            storage_writer=torch_checkpoint.FileSystemWriter(folder, single_file_per_rank=True, thread_count=1),
            planner=MCoreSavePlanner(dedup_replicated_tensors=False, flatten_state_dict=False),
            process_group=group,
        )
        on_main(lambda: save_config(CheckpointingConfig(FORMAT, VERSION), str(folder)))


def serialized(thing: Any) -> bytes:
    """`torch.save`; written by us, a full disk is an OSError that says so (torch's is "unexpected pos 704 vs 598")."""
    buffer = io.BytesIO()
    torch.save(thing, buffer)
    return buffer.getvalue()


def _copy_on_host(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.detach().clone() if tensor.device.type == "cpu" else tensor.detach().cpu()
