"""Checkpoints: whole or not at all, found by themselves, readable in any parallel layout.

    checkpoints/iter_0000050/
        *.distcp, .metadata, common.pt, metadata.json    Megatron's torch_dist format: policy, optimizer, reference
        run_config.yaml, train_state.pt                  the model, as Megatron-Bridge wants to be told of it
        rng_00000.pt ...                                 random states, one file a rank
        state.json                                       the trainer's own state, the policy's score, tags
        manifest.json                                    written last: every file's size and checksum

A checkpoint is written as `iter_0000050.partial` and renamed when everything is on the disk. A folder without a
manifest, or with a file that differs from it, is not whole: it is named in the log and passed over. Who goes on from
the one before it starts a new future: with the next checkpoint all of later steps are removed.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from megatron.core import dist_checkpointing
from megatron.core.dist_checkpointing.mapping import ShardedStateDict, ShardedTensor, ShardedTensorFactory
from torch.distributed.checkpoint.api import CheckpointException

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron import checkpoint_folder, manifest
from nemo_prorl.megatron.checkpoint_folder import STATE
from nemo_prorl.megatron.checkpoint_writer import (
    CheckpointWriter,
    Contents,
    InFlight,
    NotWrittenError,
    random_states_of,
    root_cause,
    together,
)
from nemo_prorl.megatron.interop.neighbours import CONTENT
from nemo_prorl.megatron.interop.training import described, for_megatron_lm
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.precision import masters_kept, masters_problem
from nemo_prorl.megatron.random_states import random_states, restore_random_states
from nemo_prorl.megatron.retention import Retention
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.snapshot import WeightSnapshot
from nemo_prorl.megatron.torch_dist import TorchDist, serialized
from nemo_prorl.world import gather_or_raise

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoints of one run, of which those stay that `retention` has a reason for. Every method is collective.

    `asynchronous`: `save` copies to the host's memory and returns, and a thread writes, with a process group of its
    own. At most one is in flight. Use this in a `with`: leaving it waits for that one.
    """

    def __init__(
        self, folder: Path, runtime: Runtime, *, retention: Retention | None = None, asynchronous: bool = False
    ) -> None:
        self._folder, self._world, self._retention = folder, runtime.world, retention or Retention()
        config = runtime.config
        sizes = config.tensor_parallel_size, config.pipeline_parallel_size, config.context_parallel_size
        self._layout = [*sizes, runtime.world.size]
        self._broken: set[str] = set()  # names of those that were found broken
        self._asynchronous = asynchronous
        self._writer = CheckpointWriter(folder, runtime.world_of_its_own() if asynchronous else runtime.world)
        self._in_flight: InFlight | None = None
        self._fresh: Path | None = None  # whole, and not told yet

    def save(
        self,
        step: int,
        model: PolicyModel,
        optimizer: PolicyOptimizer,
        snapshots: Mapping[str, WeightSnapshot],
        state: Mapping[str, Any],
        *,
        score: float | None = None,
        measure: str = "",
        tags: Sequence[str] = (),
    ) -> Path:
        """Write everything of `step`. Once it is whole, what nothing keeps or is of a later step is removed.

        `state` is anything that JSON can hold; `score`, `measure` and `tags` are those of `retention.Entry`. Trouble
        with the removal is a warning: the checkpoint is there.

        Raises:
            CheckpointError: it, or the one in flight before it, could not be written; nothing half-written is left.
        """
        self._settle()
        own = {
            "step": step,
            "score": score,
            "measure": measure,
            "tags": list(tags),
            "updates": optimizer.updates,
            "layout": self._layout,
            "masters": masters_kept(model.config),
            "state": dict(state),
        }
        sharded = _sharded_state(model, optimizer, snapshots, is_loading=False) | for_megatron_lm(model, step)
        tensors = TorchDist.prepare(sharded, dict(CONTENT), copy=self._asynchronous)
        contents = Contents(
            step, json.dumps(own, indent=1), serialized(random_states()), tensors, described(model, step)
        )
        if self._asynchronous:
            self._in_flight = InFlight(step, lambda: self._writer.write(contents, lambda: self._tidy(step)))
            return self._folder / checkpoint_folder.name_of(step)
        self._fresh = self._writer.write(contents, lambda: self._tidy(step))
        return self._fresh

    def whole_since(self) -> Path | None:
        """The checkpoint that has become whole since this was asked last; None: there is none, or it isn't yet.

        Raises:
            CheckpointError: it could not be written; on every rank.
        """
        if self._in_flight is not None and any(self._world.gather(self._in_flight.is_over)):
            self._settle()
        told, self._fresh = self._fresh, None
        return told

    def wait(self) -> Path | None:
        """See `whole_since`; this waits for the one in flight."""
        self._settle()
        return self.whole_since()

    def _settle(self) -> None:
        """Return when none is in flight."""
        if self._in_flight is not None:
            path, failure = self._in_flight.wait()
            self._in_flight = None
            gather_or_raise(self._world, None, failure, "writing a checkpoint")
            self._fresh = path

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self._settle()
        elif self._in_flight is not None:
            _, failure = self._in_flight.wait()  # other ranks may have left already: nothing is agreed on here
            if failure is not None:
                log.warning("%s", failure)

    def newest(self) -> Path | None:
        """The newest whole checkpoint; broken ones are named in the log and passed over. None: none was ever finished.

        Raises:
            CheckpointError: all are broken, or the folder can't be read; on every rank.
        """
        self._settle()
        try:
            found = together(
                self._world, lambda: checkpoint_folder.finished(self._folder) if self._world.is_main else []
            )[0]
        except NotWrittenError as error:
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
        optimizer: PolicyOptimizer,
        snapshots: Mapping[str, WeightSnapshot],
    ) -> dict[str, Any]:
        """Load a checkpoint, written in this layout or another, and return the trainer's state.

        Raises:
            CheckpointError: it lacks something that is asked for, or is of another model.
        """
        own = json.loads((path / STATE).read_text(encoding="utf-8"))
        if problem := masters_problem(own.get("masters"), model.config):
            raise CheckpointError(f"checkpoint {path} {problem}")
        loaded = _loaded(_sharded_state(model, optimizer, snapshots, is_loading=True), path)
        _fill(model, loaded["model"], prefix="")
        for name, snapshot in snapshots.items():
            with snapshot.in_place(writing=True):
                _fill(model, loaded[name], prefix=f"{name}.")
        optimizer.load_state_dict(loaded["optimizer"])
        optimizer.updates = own["updates"]
        if own["layout"] == self._layout:  # in another layout no rank has a predecessor; sampling doesn't need one
            restore_random_states(torch.load(path / random_states_of(self._world.rank), weights_only=False))
        return dict(own["state"])

    def of_step(self, step: int) -> Path:
        """Where the checkpoint of `step` lies, if there is one."""
        return self._folder / checkpoint_folder.name_of(step)

    def restore_policy(self, path: Path, model: PolicyModel, optimizer: PolicyOptimizer) -> None:
        """Make `model` the policy of a checkpoint; master weights follow, moments and random states stay as they are.

        Raises:
            CheckpointError: it is broken, or of another model.
        """
        self._settle()
        if damage := self.damage(path):
            raise CheckpointError(f"checkpoint {path} is broken: {damage}. Choose another one")
        weights = _sharded_weights(model, "")
        _keep_in_place(weights)
        _fill(model, _loaded({"model": weights}, path)["model"], prefix="")
        optimizer.reload_weights()

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

    def _tidy(self, step: int) -> None:
        """On the main rank, once the checkpoint of `step` is whole."""
        self._broken.discard(checkpoint_folder.name_of(step))
        checkpoint_folder.tidy(self._folder, step, retention=self._retention, broken=self._broken)


def _loaded(sharded: ShardedStateDict, path: Path) -> dict[str, Any]:
    try:
        loaded: dict[str, Any] = dist_checkpointing.load(sharded, str(path))
    except (CheckpointException, dist_checkpointing.core.CheckpointingException, KeyError, RuntimeError) as error:
        raise CheckpointError(
            f"checkpoint {path} does not fit this run: {root_cause(error)}. It must be of the same model, with the "
            "same megatron.vocabulary_multiple, and hold a reference if some stage has a kl_weight above 0"
        ) from error
    return loaded


def _sharded_state(
    model: PolicyModel, optimizer: PolicyOptimizer, snapshots: Mapping[str, WeightSnapshot], *, is_loading: bool
) -> ShardedStateDict:
    """What Megatron saves and loads: each tensor with its place in the whole."""
    weights = _sharded_weights(model, "")
    held = optimizer.megatron.sharded_state_dict(weights, is_loading=is_loading, metadata=dict(CONTENT))
    state: dict[str, Any] = {"model": weights, "optimizer": held}
    for name, snapshot in snapshots.items():
        with snapshot.in_place():
            frozen = _sharded_weights(model, f"{name}.")
            _keep_in_place(frozen)
        state[name] = frozen
    return state


def _keep_in_place(weights: ShardedStateDict) -> None:
    """They hold parameters, whose pointers swap back when a snapshot's place is left: keep what they point to now."""
    for entry in weights.values():
        if isinstance(entry, ShardedTensor | ShardedTensorFactory) and entry.data is not None:
            entry.data = entry.data.detach()


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
