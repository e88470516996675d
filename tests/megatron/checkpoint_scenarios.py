"""What ranks do in the tests of checkpoints."""

from __future__ import annotations

import logging
import os
import random
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron.checkpoint import Checkpoints
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.retention import Retention
from nemo_prorl.megatron.snapshot import WeightSnapshot
from tests.megatron.scenarios import Engine, engine, own_batch, update

STATE = {"cursor": [3, 1], "name": "π", "share": 0.1, "nested": {"none": None}}


def draws() -> tuple[float, float, float]:
    """From every generator whose state a checkpoint holds."""
    return random.random(), float(np.random.rand()), float(torch.rand(()))


def facts(run: Engine, optimizer: PolicyOptimizer, snapshot: WeightSnapshot) -> dict[str, Any]:
    """What a checkpoint must bring back, and what follows from it."""
    rows, weights_BT = own_batch(run)
    with snapshot.in_place():
        reference = run.weights()
    return {
        "policy": run.weights(),
        "reference": reference,
        "updates": optimizer.updates,
        "steps": adam_steps(optimizer),
        "draws": draws(),
        "then": [update(run, optimizer, rows, weights_BT) for _ in range(2)],
        "moved": run.weights(),
    }


def adam_steps(optimizer: PolicyOptimizer) -> set[float]:
    """As torch's counts them, for each parameter, or a fused one, for each group; none before its first."""
    inner = list(optimizer.torch_optimizers())
    if optimizer.kind == "torch":
        return {float(state["step"]) for one in inner for state in one.state.values()}
    return {float(group.get("step", 0)) for one in inner for group in one.param_groups}


def saved(folder: Path, settings: Mapping[str, Any], checkpoints: Path, reset_after: int = 2) -> dict[str, Any]:
    """Three updates, the reference reset after the first and the optimizer after some; a checkpoint."""
    with engine(folder, settings) as run:
        rows, weights_BT = own_batch(run)
        optimizer, snapshot = run.optimizer(warmup_steps=5), WeightSnapshot(run.model)
        for number in range(3):
            update(run, optimizer, rows, weights_BT)
            if number == 0:
                snapshot.refresh()
            if number + 1 == reset_after:
                optimizer.reset()
        path = Checkpoints(checkpoints, run.runtime, retention=Retention(keep_last=1)).save(
            3, run.model, optimizer, {"reference": snapshot}, STATE
        )
        return {"path": path, "world_draws": draws(), **facts(run, optimizer, snapshot)}


def restored(folder: Path, settings: Mapping[str, Any], checkpoints: Path) -> dict[str, Any]:
    """The same from the newest checkpoint, by a run that has just begun."""
    with engine(folder, settings) as run:
        optimizer, snapshot = run.optimizer(warmup_steps=5), WeightSnapshot(run.model)
        store = Checkpoints(checkpoints, run.runtime, retention=Retention(keep_last=1))
        path = store.newest()
        assert path is not None
        state = store.restore(path, run.model, optimizer, {"reference": snapshot})
        return {"path": path, "state": state, "world_draws": draws(), **facts(run, optimizer, snapshot)}


@contextmanager
def checkpointer(
    folder: Path, settings: Mapping[str, Any], checkpoints: Path, keep_last: int = 2
) -> Iterator[tuple[Checkpoints, Any]]:
    """Checkpoints, and a function that saves a step."""
    with engine(folder, settings) as run:
        optimizer = run.optimizer()
        store = Checkpoints(checkpoints, run.runtime, retention=Retention(keep_last=keep_last))
        yield store, lambda step: store.save(step, run.model, optimizer, {}, {"step": step})


@contextmanager
def heard() -> Iterator[list[str]]:
    """What the library logs meanwhile."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("nemo_prorl").addHandler(handler)
    yield messages
    logging.getLogger("nemo_prorl").removeHandler(handler)


def torn(folder: Path, checkpoints: Path, kind: str) -> dict[str, Any]:
    """Which checkpoint is found after the newest of two was damaged, and what is said about it."""
    with checkpointer(folder, {}, checkpoints) as (store, save), heard() as messages:
        save(1), save(2)
        newest = store.newest()
        assert newest is not None
        largest_file = max(newest.iterdir(), key=lambda path: path.stat().st_size)
        if kind == "truncated":
            os.truncate(largest_file, largest_file.stat().st_size - 1)
        elif kind == "altered":
            alter(newest)
        elif kind == "lacks a file":
            largest_file.unlink()
        elif kind == "lacks its manifest":
            (newest / "manifest.json").unlink()
        elif kind == "was being written":
            newest.rename(newest.with_name(newest.name + ".partial"))
        found = store.newest()
        save(3)
        return {
            "newest": newest.name,
            "found": found and found.name,
            "messages": messages,
            "left": sorted(path.name for path in checkpoints.iterdir()),
        }


def full_disk(folder: Path, settings: Mapping[str, Any], checkpoints: Path, rank: int, limit: int) -> dict[str, Any]:
    """What a save says when the files of one rank may not grow beyond `limit` bytes, and what it leaves."""
    with checkpointer(folder, settings, checkpoints) as (store, save):
        save(1)
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        if int(os.environ["RANK"]) == rank:
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            save(2)
            error = None
        except CheckpointError as raised:
            error = str(raised)
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        left, newest = sorted(path.name for path in checkpoints.iterdir()), store.newest()
        return {"error": error, "left": left, "newest": newest and newest.name, "again": save(2).name}


def kept(folder: Path, checkpoints: Path) -> list[str]:
    """What is left of five checkpoints of which two are kept, and of one that a killed run had begun."""
    (checkpoints / "iter_0000009.partial").mkdir(parents=True)
    with checkpointer(folder, {}, checkpoints) as (_, save):
        for step in (1, 2, 3, 10, 11):
            save(step)
    return sorted(path.name for path in checkpoints.iterdir())


def refused(folder: Path, other: Path, checkpoints: Path) -> list[str]:
    """Messages of restoring a checkpoint that lacks the reference, and one of another model."""
    with checkpointer(folder, {}, checkpoints) as (_, save):
        path = save(1)
    messages = []
    for source, wanted in ((folder, ["reference"]), (other, [])):
        with engine(source, {}) as run:
            snapshots = {name: WeightSnapshot(run.model) for name in wanted}
            try:
                Checkpoints(checkpoints, run.runtime, retention=Retention(keep_last=1)).restore(
                    path, run.model, run.optimizer(), snapshots
                )
            except CheckpointError as error:
                messages.append(str(error))
    return messages


def alter(checkpoint: Path) -> None:
    """Flip one bit of its largest file."""
    largest_file = max(checkpoint.iterdir(), key=lambda path: path.stat().st_size)
    content = bytearray(largest_file.read_bytes())
    content[len(content) // 2] ^= 1
    largest_file.write_bytes(content)


def left_behind(folder: Path, checkpoints: Path) -> list[tuple[list[str], str | None]]:
    """What is there, and what is the newest, as a run with keep_last=1 goes on from before broken checkpoints."""
    told = []

    def tell(store: Checkpoints) -> None:
        found = store.newest()
        told.append((sorted(path.name for path in checkpoints.glob("iter_*")), found and found.name))

    with checkpointer(folder, {}, checkpoints, keep_last=2) as (store, save):
        path = save(5)
        alter(save(10))
        tell(store)
    with checkpointer(folder, {}, checkpoints, keep_last=1) as (store, save):
        tell(store)
        # A killed run was removing these two, and has left something in them.
        for name in ("iter_0000005.partial", "iter_0000010.partial", "iter_0000006.replaced.partial"):
            (checkpoints / name / "inside").mkdir(parents=True)
        save(6)
        tell(store)
        path = save(8)
    with checkpointer(folder, {}, checkpoints, keep_last=2) as (store, save):
        save(9)
        alter(checkpoints / "iter_0000009")
        assert store.newest() == path
        save(12)  # were the broken one counted, the one before it would go
        tell(store)
        alter(checkpoints / "iter_0000012")
        save(12)  # in the place of a broken one
        tell(store)
    return told


def all_broken(folder: Path, settings: Mapping[str, Any], checkpoints: Path) -> list[str | None]:
    """What `newest` says without a checkpoint, with one that was never finished, and with broken ones only."""
    told = []

    def tell(store: Checkpoints) -> None:
        try:
            found = store.newest()
            told.append(found and found.name)
        except CheckpointError as error:
            told.append(str(error))

    with checkpointer(folder, settings, checkpoints) as (store, save):
        tell(store)
        one, other = save(1), save(2)
        if int(os.environ["RANK"]) == 0:
            alter(one), (other / "manifest.json").unlink()
            checkpoints.rename(checkpoints.with_name("elsewhere"))
            (checkpoints / "iter_0000003.partial").mkdir(parents=True)
        dist.barrier()
        tell(store)
        if int(os.environ["RANK"]) == 0:
            checkpoints.rename(checkpoints.with_name("empty"))
            checkpoints.with_name("elsewhere").rename(checkpoints)
        dist.barrier()
        tell(store)
        if int(os.environ["RANK"]) == 0:
            checkpoints.rename(checkpoints.with_name("elsewhere"))
            checkpoints.write_text("a file")
        dist.barrier()
        tell(store)
    return told


def untidy(folder: Path, checkpoints: Path) -> dict[str, Any]:
    """A save where neither the pointer can be written nor an old checkpoint removed."""
    with checkpointer(folder, {}, checkpoints, keep_last=1) as (store, save), heard() as messages:
        (checkpoints / "latest_checkpointed_iteration.txt" / "inside").mkdir(parents=True)
        save(1)
        (checkpoints / "iter_0000001.partial").write_text("a file where a folder is to go")
        path = save(2)
        return {"saved": path.name, "newest": store.newest() == path, "messages": messages}
