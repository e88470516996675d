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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from megatron.core import dist_checkpointing, tensor_parallel
from megatron.core.dist_checkpointing.mapping import ShardedStateDict, ShardedTensor, ShardedTensorFactory
from torch.distributed.checkpoint.api import CheckpointException

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron import manifest
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.snapshot import WeightSnapshot
from nemo_prorl.megatron.torch_dist import write_object, write_torch_dist

log = logging.getLogger(__name__)

STATE, LATEST = "state.json", "latest_checkpointed_iteration.txt"
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
        sizes = runtime.config.tensor_parallel_size, runtime.config.pipeline_parallel_size
        self._layout = [*sizes, runtime.world.size]

    def save(
        self,
        step: int,
        model: PolicyModel,
        optimizer: PolicyOptimizer | None,
        snapshots: Mapping[str, WeightSnapshot],
        state: Mapping[str, Any],
    ) -> Path:
        """Write everything of `step`; older checkpoints beyond `keep_last` are removed once it is whole.

        `state` is anything that JSON can hold.

        Raises:
            CheckpointError: it could not be written; nothing half-written is left behind.
        """
        final = self._folder / f"iter_{step:07d}"
        partial = final.with_name(final.name + _PARTIAL)
        updates = 0 if optimizer is None else optimizer.updates
        own = json.dumps({"step": step, "updates": updates, "layout": self._layout, "state": dict(state)}, indent=1)
        try:
            self._on_main(lambda: _make_empty(partial))
            sharded = _sharded_state(model, optimizer, snapshots, is_loading=False)
            write_torch_dist(sharded, partial, dict(_CONTENT), self._on_main)
            self._together(lambda: write_object(_random_states(), partial / _random_states_of(self._world.rank)))
            self._on_main(lambda: (partial / STATE).write_text(own, encoding="utf-8"))
            self._seal(partial, final)
        except (_NotWritten, CheckpointException) as error:
            if self._world.is_main:
                shutil.rmtree(partial, ignore_errors=True)
            self._world.barrier()
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {self._folder}: {_root_cause(error)}. Earlier "
                "checkpoints are untouched. Make room on the disk or choose another run.dir, then start again"
            ) from error
        if self._world.is_main:
            self._point_to(step)
            self._remove_old()
        self._world.barrier()
        return final

    def newest(self) -> Path | None:
        """The newest whole checkpoint; broken ones are named in the log and passed over."""
        for path in self._world.broadcast(sorted(self._finished(), reverse=True)):
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
                f"checkpoint {path} does not fit this run: {_root_cause(error)}. It must be of the same model, with "
                "the same megatron.vocabulary_multiple, precision and distributed_optimizer, and a reference exactly "
                "when some stage has a kl_weight above 0"
            ) from error
        _fill(model, loaded["model"], prefix="")
        for name, snapshot in snapshots.items():
            with snapshot.in_place():
                _fill(model, loaded[name], prefix=f"{name}.")
        if optimizer is not None:
            optimizer.load_state_dict(loaded["optimizer"])
            optimizer.updates = own["updates"]
        if own["layout"] == self._layout:  # in another layout no rank has a predecessor; sampling doesn't need one
            _restore_random_states(path / _random_states_of(self._world.rank))
        return dict(own["state"])

    def damage(self, path: Path) -> str | None:
        """What is wrong with a checkpoint, or None; each rank checks a share of the files."""
        wanted = manifest.read(path)
        if any(self._world.gather(wanted is None)):
            return f"{manifest.MANIFEST} is missing or unreadable, so it was never finished"
        assert wanted is not None
        mine = sorted(wanted)[self._world.rank :: self._world.size]
        damage = [f"{name} {found}" for name in mine if (found := manifest.difference(path / name, wanted[name]))]
        everyone = [line for lines in self._world.gather(damage) for line in lines]
        return "; ".join(everyone) or None

    def _seal(self, partial: Path, final: Path) -> None:
        """Everything is written: note it down, get it onto the disk, and give it its name."""
        mine = self._world.broadcast(manifest.files_of(partial))[self._world.rank :: self._world.size]
        parts = self._together(lambda: {name: manifest.fingerprint(partial / name) for name in mine})
        whole = {name: wanted for part in parts for name, wanted in sorted(part.items())}

        def finish() -> None:
            manifest.write(partial, whole)
            if final.exists():  # a broken one, whose step we came to again from the checkpoint before it
                os.replace(final, final.with_name(f"{final.name}.replaced{_PARTIAL}"))
            os.replace(partial, final)
            manifest.sync(final.parent)

        self._on_main(finish)

    def _finished(self) -> list[Path]:
        found = self._folder.glob("iter_*") if self._folder.is_dir() else []
        return [path for path in found if not path.name.endswith(_PARTIAL)]

    def _point_to(self, step: int) -> None:
        """For readers of Megatron-LM's checkpoints, who look the newest one up in a file; we don't."""
        beside = self._folder / (LATEST + _PARTIAL)
        beside.write_text(f"{step}\n", encoding="utf-8")
        os.replace(beside, self._folder / LATEST)

    def _remove_old(self) -> None:
        whole = sorted(path for path in self._finished() if (path / manifest.MANIFEST).is_file())
        for path in whole[: -self._keep_last]:
            # Renamed first: a folder that is half removed must not look like a broken checkpoint.
            os.replace(path, path.with_name(path.name + _PARTIAL))
        for leftover in self._folder.glob("iter_*" + _PARTIAL):  # of runs that were killed, too
            shutil.rmtree(leftover, ignore_errors=True)

    def _together(self, action: Callable[[], Any]) -> list[Any]:
        """`action` on every rank; all results. When it fails on one, it fails on all: none waits for one that left."""
        result = failure = None
        try:
            result = action()
        except OSError as error:
            failure = f"{_root_cause(error)} (rank {self._world.rank})"
        answers = self._world.gather((result, failure))
        failures = [text for _, text in answers if text is not None]
        if failures:
            raise _NotWritten("; ".join(failures))
        return [result for result, _ in answers]

    def _on_main(self, action: Callable[[], Any]) -> None:
        def run() -> None:
            if self._world.is_main:
                action()

        self._together(run)


class _NotWritten(Exception):
    """Why some rank could not write its part."""


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


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _random_states_of(rank: int) -> str:
    return f"rng_{rank:05d}.pt"


def _random_states() -> dict[str, Any]:
    return {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "megatron": tensor_parallel.get_cuda_rng_tracker().get_states(),
    }


def _restore_random_states(path: Path) -> None:
    states = torch.load(path, weights_only=False)
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    tensor_parallel.get_cuda_rng_tracker().set_states(states["megatron"])


def _root_cause(error: BaseException) -> str:
    """The innermost reason in one line; torch wraps what a rank raised in a report of all ranks."""
    if isinstance(error, _NotWritten):
        return str(error)
    where = ""
    if isinstance(error, CheckpointException) and error.failures:
        rank, (inner, _) = sorted(error.failures.items())[0]
        error, where = inner, f" (rank {rank})"
    if "unexpected pos" in str(error):  # how torch's file writer says that it could not write on
        return f"a file could not be written to its end, so the disk is probably full{where}"
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0][:300]}{where}"
