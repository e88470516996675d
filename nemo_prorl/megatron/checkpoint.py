"""Checkpoints: whole or not at all, found by themselves, readable in any parallel layout.

    checkpoints/iter_0000050/
        *.distcp, .metadata, common.pt, metadata.json    Megatron's torch_dist format: policy, optimizer, reference
        run_config.yaml, train_state.pt                  the model, as Megatron-Bridge wants to be told of it
        rng_00000.pt ...                                 random states, one file a rank
        state.json                                       the trainer's own state
        manifest.json                                    written last: every file's size and checksum

A checkpoint is written as `iter_0000050.partial` and renamed when everything is on the disk. A folder without a
manifest, or with a file that differs from it, is not whole: it is named in the log and passed over. Who goes on from
the one before it starts a new future: with the next checkpoint all of later steps are removed.
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.mapping import ShardedStateDict, ShardedTensor, ShardedTensorFactory
from torch.distributed.checkpoint.api import CheckpointException

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron import checkpoint_folder, manifest
from nemo_prorl.megatron.interop.neighbours import CONTENT
from nemo_prorl.megatron.interop.training import for_megatron_lm, write_for_megatron_bridge
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.random_states import random_states, restore_random_states
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.snapshot import WeightSnapshot
from nemo_prorl.megatron.torch_dist import write_object, write_torch_dist

log = logging.getLogger(__name__)

STATE = "state.json"


class Checkpoints:
    """The checkpoints of one run; the newest `keep_last` whole ones stay. Every method is collective."""

    def __init__(self, folder: Path, runtime: Runtime, *, keep_last: int) -> None:
        self._folder, self._world, self._keep_last = folder, runtime.world, keep_last
        config = runtime.config
        sizes = config.tensor_parallel_size, config.pipeline_parallel_size, config.context_parallel_size
        self._layout = [*sizes, runtime.world.size]
        self._broken: set[str] = set()  # names of those that were found broken

    def save(
        self,
        step: int,
        model: PolicyModel,
        optimizer: PolicyOptimizer | None,
        snapshots: Mapping[str, WeightSnapshot],
        state: Mapping[str, Any],
    ) -> Path:
        """Write everything of `step`. Once it is whole, what lies beyond `keep_last` or is of a later step is removed.

        `state` is anything that JSON can hold. Trouble with the removal is a warning: the checkpoint is there.

        Raises:
            CheckpointError: it could not be written; nothing half-written is left behind.
        """
        final = self._folder / checkpoint_folder.name_of(step)
        partial = checkpoint_folder.unfinished(final)
        updates = 0 if optimizer is None else optimizer.updates
        own = json.dumps({"step": step, "updates": updates, "layout": self._layout, "state": dict(state)}, indent=1)
        try:
            self._on_main(lambda: _make_empty(partial))
            sharded = _sharded_state(model, optimizer, snapshots, is_loading=False) | for_megatron_lm(model, step)
            write_torch_dist(sharded, partial, dict(CONTENT), self._on_main)
            self._together(lambda: write_object(random_states(), partial / _random_states_of(self._world.rank)))
            self._on_main(lambda: (partial / STATE).write_text(own, encoding="utf-8"))
            self._on_main(lambda: write_for_megatron_bridge(model, partial, step))
            self._seal(partial, final)
        except (_NotWritten, CheckpointException) as error:
            if self._world.is_main:
                shutil.rmtree(partial, ignore_errors=True)
            self._world.barrier()
            raise CheckpointError(
                f"the checkpoint of step {step} could not be written to {self._folder}: {_root_cause(error)}. Earlier "
                "checkpoints are untouched. Make room on the disk or choose another run.dir, then start again"
            ) from error
        self._broken.discard(final.name)
        if self._world.is_main:
            checkpoint_folder.tidy(self._folder, step, keep_last=self._keep_last, broken=self._broken)
        self._world.barrier()
        return final

    def newest(self) -> Path | None:
        """The newest whole checkpoint; broken ones are named in the log and passed over. None: none was ever finished.

        Raises:
            CheckpointError: all are broken, or the folder can't be read; on every rank.
        """
        try:
            found = self._together(lambda: checkpoint_folder.finished(self._folder) if self._world.is_main else [])[0]
        except _NotWritten as error:
            raise CheckpointError(
                f"{self._folder} can't be read: {error}. See to its permissions, or choose another folder (run.dir)"
            ) from error
        damages = []
        for path in reversed(found):
            damage = self.damage(path)
            if damage is None:
                return path
            log.warning("checkpoint %s is broken and passed over: %s", path, damage)
            self._broken.add(path.name)
            damages.append(f"{path.name}: {damage}")
        if damages:
            raise CheckpointError(
                f"there is no whole checkpoint among the {len(damages)} in {self._folder}: {'; '.join(damages)}. Bring "
                "one back from a copy, choose another run.dir, or delete the folder to start anew"
            )
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
            with snapshot.in_place(writing=True):
                _fill(model, loaded[name], prefix=f"{name}.")
        if optimizer is not None:
            optimizer.load_state_dict(loaded["optimizer"])
            optimizer.updates = own["updates"]
        if own["layout"] == self._layout:  # in another layout no rank has a predecessor; sampling doesn't need one
            restore_random_states(torch.load(path / _random_states_of(self._world.rank), weights_only=False))
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
            checkpoint_folder.replace(final, partial)
            manifest.sync(final.parent)

        self._on_main(finish)

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
    """Why some rank could not write its part, or the main rank not read the folder."""


def _sharded_state(
    model: PolicyModel, optimizer: PolicyOptimizer | None, snapshots: Mapping[str, WeightSnapshot], *, is_loading: bool
) -> ShardedStateDict:
    """What Megatron saves and loads: each tensor with its place in the whole."""
    weights = _sharded_weights(model, "")
    state: dict[str, Any] = {"model": weights}
    for name, snapshot in snapshots.items():
        with snapshot.in_place():
            frozen = _sharded_weights(model, f"{name}.")
            for entry in frozen.values():
                # It holds the parameter, whose pointer swaps back when we leave: keep what it points to now.
                if isinstance(entry, ShardedTensor | ShardedTensorFactory) and entry.data is not None:
                    entry.data = entry.data.detach()
        state[name] = frozen
    if optimizer is not None:
        state["optimizer"] = optimizer.megatron.sharded_state_dict(
            weights, is_loading=is_loading, metadata=dict(CONTENT)
        )
    return state


def _sharded_weights(model: PolicyModel, prefix: str) -> ShardedStateDict:
    """The tensors of all chunks of this rank. What is stored knows layers by their number in the whole model."""
    return {
        f"{prefix}{number}:{name}": entry
        for number, gpt in enumerate(model.gpts)
        for name, entry in gpt.sharded_state_dict(prefix=prefix, metadata=dict(CONTENT)).items()
    }


@torch.no_grad()
def _fill(model: PolicyModel, loaded: Mapping[str, torch.Tensor], prefix: str) -> None:
    for number, gpt in enumerate(model.gpts):
        for name, parameter in gpt.named_parameters():
            parameter.copy_(loaded[f"{prefix}{number}:{prefix}{name}"])


def _make_empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _random_states_of(rank: int) -> str:
    return f"rng_{rank:05d}.pt"


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
