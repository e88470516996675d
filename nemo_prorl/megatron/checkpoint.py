"""Checkpoints: whole or not at all, found by themselves, readable in any parallel layout.

    checkpoints/iter_0000050/
        *.distcp, .metadata, common.pt, metadata.json    Megatron's torch_dist format: policy, optimizer, reference
        rng_00000.pt ...                                 random states, one file a rank
        state.json                                       the trainer's own state
        manifest.json                                    written last: every file's size and checksum

A checkpoint is written as `iter_0000050.partial` and renamed when everything is on the disk. A folder without a
manifest, or with a file that differs from it, is not whole: it is named in the log and passed over.
"""

from __future__ import annotations

import json
import logging
import os
import random
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.core import dist_checkpointing, tensor_parallel
from megatron.core.dist_checkpointing.mapping import ShardedStateDict, ShardedTensor, ShardedTensorFactory
from torch.distributed.checkpoint.api import CheckpointException

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron.in_process_save import InProcessSave
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.snapshot import WeightSnapshot

log = logging.getLogger(__name__)

MANIFEST, STATE, LATEST = "manifest.json", "state.json", "latest_checkpointed_iteration.txt"
_PARTIAL = ".partial"
# How Megatron lays optimizer state out: by parameter, so that any layout can read what another wrote.
_CONTENT = {
    "distrib_optim_sharding_type": "fully_reshardable",
    "singleton_local_shards": False,
    "chained_optim_avoid_prefix": True,
}


class Checkpoints:
    """The checkpoints of one run; the newest `keep_last` of them stay. Every method is collective."""

    def __init__(self, folder: Path, runtime: Runtime, *, keep_last: int) -> None:
        self._folder, self._world, self._keep_last = folder, runtime.world, keep_last

    def save(
        self,
        step: int,
        model: PolicyModel,
        optimizer: PolicyOptimizer | None,
        snapshots: Mapping[str, WeightSnapshot],
        state: Mapping[str, Any],
    ) -> Path:
        """Write everything of `step`; older checkpoints beyond `keep_last` are removed once it is whole.

        Raises:
            CheckpointError: it could not be written; nothing half-written is left behind.
        """
        final = self._folder / f"iter_{step:07d}"
        partial = final.with_name(final.name + _PARTIAL)
        try:
            if self._world.is_main:
                shutil.rmtree(partial, ignore_errors=True)
                partial.mkdir(parents=True)
            self._world.barrier()
            sharded = _sharded_state(model, optimizer, snapshots, is_loading=False)
            dist_checkpointing.save(sharded, str(partial), InProcessSave(), content_metadata=_CONTENT)
            torch.save(_random_states(), partial / f"rng_{self._world.rank:05d}.pt")
            updates = 0 if optimizer is None else optimizer.updates
            self._world.barrier()
            if self._world.is_main:
                own = {"step": step, "updates": updates, "world_size": self._world.size, "state": dict(state)}
                (partial / STATE).write_text(json.dumps(own, indent=1), encoding="utf-8")
                _seal(partial, final, self._folder / LATEST, step)
        except (OSError, CheckpointException) as error:
            if self._world.is_main:
                shutil.rmtree(partial, ignore_errors=True)
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {self._folder}: {_root_cause(error)}. Earlier "
                "checkpoints are untouched. Make room on the disk or choose another run.dir, then start again"
            ) from error
        self._world.barrier()
        if self._world.is_main:
            self._remove_old()
        return final

    def newest(self) -> Path | None:
        """The newest whole checkpoint; broken ones are named in the log and passed over."""
        found = sorted(self._folder.glob("iter_*"), reverse=True) if self._folder.is_dir() else []
        candidates = [path for path in found if not path.name.endswith(_PARTIAL)]
        for path in self._world.broadcast(candidates):
            damage = self.damage(path)
            if damage is None:
                return path
            log.warning("checkpoint %s is broken and passed over: %s", path, damage)
        return None

    def restore(
        self,
        path: Path,
        model: PolicyModel,
        optimizer: PolicyOptimizer | None,
        snapshots: Mapping[str, WeightSnapshot],
    ) -> dict[str, Any]:
        """Load a checkpoint, written in this layout or another, and return the trainer's state.

        Raises:
            CheckpointError: it lacks something that is asked for, or is of another model.
        """
        own = json.loads((path / STATE).read_text(encoding="utf-8"))
        sharded = _sharded_state(model, optimizer, snapshots, is_loading=True)
        try:
            loaded = dist_checkpointing.load(sharded, str(path))
        except (CheckpointException, dist_checkpointing.core.CheckpointingException, KeyError, RuntimeError) as error:
            raise CheckpointError(
                f"checkpoint {path} does not fit this run: {_root_cause(error)}. It must come from the same model, with "
                "the same megatron.vocabulary_multiple, precision and distributed_optimizer, and a reference exactly when "
                "some stage has a kl_weight above 0"
            ) from error
        _fill(model, loaded["model"], prefix="")
        for name, snapshot in snapshots.items():
            with snapshot.in_place():
                _fill(model, loaded[name], prefix=f"{name}.")
        if optimizer is not None:
            with torch.no_grad():
                optimizer.megatron.load_state_dict(loaded["optimizer"])
            optimizer.after_restoring()
            optimizer.updates = own["updates"]
        self._restore_random_states(path, own["world_size"])
        return dict(own["state"])

    def damage(self, path: Path) -> str | None:
        """What is wrong with a checkpoint, or None; each rank checks a share of the files."""
        try:
            manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            manifest = None
        if self._world.broadcast(manifest is None):
            return f"{MANIFEST} is missing or unreadable, so it was never finished"
        assert manifest is not None
        mine = sorted(manifest)[self._world.rank :: self._world.size]
        damage = [f"{name} {problem}" for name in mine if (problem := _compare(path / name, manifest[name]))]
        everyone = [line for lines in self._world.gather(damage) for line in lines]
        return "; ".join(everyone) or None

    def _remove_old(self) -> None:
        whole = sorted(path for path in self._folder.glob("iter_*") if (path / MANIFEST).is_file())
        for path in whole[: -self._keep_last]:
            # Renamed first: a folder that is half removed must not look like a broken checkpoint.
            doomed = path.with_name(path.name + _PARTIAL)
            os.replace(path, doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def _restore_random_states(self, path: Path, saved_world_size: int) -> None:
        """Only in the same layout: a rank of another one has no predecessor. (Sampling doesn't depend on them.)"""
        if saved_world_size != self._world.size:
            return
        states = torch.load(path / f"rng_{self._world.rank:05d}.pt", weights_only=False)
        random.setstate(states["python"])
        np.random.set_state(states["numpy"])
        torch.set_rng_state(states["torch"])
        tensor_parallel.get_cuda_rng_tracker().set_states(states["megatron"])


def _sharded_state(
    model: PolicyModel, optimizer: PolicyOptimizer | None, snapshots: Mapping[str, WeightSnapshot], *, is_loading: bool
) -> ShardedStateDict:
    """What Megatron saves and loads: each tensor with its place in the whole."""
    weights = model.gpt.sharded_state_dict(metadata=dict(_CONTENT))
    state: dict[str, Any] = {"model": weights}
    for name, snapshot in snapshots.items():
        with snapshot.in_place():
            frozen = model.gpt.sharded_state_dict(prefix=f"{name}.", metadata=dict(_CONTENT))
            for entry in frozen.values():
                # It holds the parameter, whose pointer swaps back when we leave: keep what it points to now.
                if isinstance(entry, ShardedTensor | ShardedTensorFactory) and entry.data is not None:
                    entry.data = entry.data.detach()
        state[name] = frozen
    if optimizer is not None:
        state["optimizer"] = optimizer.megatron.sharded_state_dict(
            weights, is_loading=is_loading, metadata=dict(_CONTENT)
        )
    return state


@torch.no_grad()
def _fill(model: PolicyModel, loaded: Mapping[str, torch.Tensor], prefix: str) -> None:
    for name, parameter in model.gpt.named_parameters():
        parameter.copy_(loaded[prefix + name])


def _random_states() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "megatron": tensor_parallel.get_cuda_rng_tracker().get_states(),
    }


def _seal(partial: Path, final: Path, latest: Path, step: int) -> None:
    """Everything is written: note it down, get it onto the disk, and give it its name."""
    files = sorted(path.name for path in partial.iterdir() if path.is_file())
    manifest = {name: _fingerprint(partial / name) for name in files}
    (partial / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    for name in [*files, MANIFEST]:
        _sync(partial / name)
    _sync(partial)
    if final.exists():
        shutil.rmtree(final)
    os.replace(partial, final)
    beside = latest.with_name(latest.name + _PARTIAL)
    beside.write_text(f"{step}\n", encoding="utf-8")
    os.replace(beside, latest)
    _sync(final.parent)


def _fingerprint(path: Path) -> dict[str, int]:
    checksum = size = 0
    with path.open("rb") as file:
        while block := file.read(1 << 24):
            checksum, size = zlib.crc32(block, checksum), size + len(block)
    return {"bytes": size, "crc32": checksum}


def _compare(path: Path, wanted: Mapping[str, int]) -> str | None:
    if not path.is_file():
        return "is missing"
    found = path.stat().st_size
    if found != wanted["bytes"]:
        return f"has {found} bytes instead of {wanted['bytes']}"
    return None if _fingerprint(path) == wanted else "has other contents than were written (checksum)"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _root_cause(error: BaseException) -> str:
    """The innermost reason in one line; torch wraps what a rank raised in a report of all ranks."""
    where = ""
    if isinstance(error, CheckpointException) and error.failures:
        rank, (inner, _) = sorted(error.failures.items())[0]
        error, where = inner, f" on rank {rank}"
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}{where}: {lines[0][:300]}"
