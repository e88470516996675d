"""What ranks do in the tests of saving beside the training, of what is kept, and of damage."""

from __future__ import annotations

import os
import resource
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron import torch_dist
from nemo_prorl.megatron.checkpoint import Checkpoints
from nemo_prorl.megatron.retention import Retention
from nemo_prorl.megatron.snapshot import WeightSnapshot
from tests.megatron.checkpoint_scenarios import STATE, adam_steps, draws, facts, heard
from tests.megatron.scenarios import engine, own_batch, update


@contextmanager
def writing_is_held() -> Iterator[threading.Event]:
    """No tensor gets onto the disk before the event is set."""
    may_write, original = threading.Event(), torch_dist.TorchDist.write

    def held(*arguments: Any) -> None:
        may_write.wait()
        original(*arguments)

    torch_dist.TorchDist.write = held  # type: ignore[method-assign]
    try:
        yield may_write
    finally:
        may_write.set()
        torch_dist.TorchDist.write = original  # type: ignore[method-assign]


def saved_beside(folder: Path, settings: Mapping[str, Any], checkpoints: Path) -> dict[str, Any]:
    """As `checkpoint_scenarios.saved`, but all of the training that follows happens before a byte is written."""
    with engine(folder, settings) as run:
        rows, weights_BT = own_batch(run)
        optimizer, snapshot = run.optimizer(warmup_steps=5), WeightSnapshot(run.model)
        for number in range(3):
            update(run, optimizer, rows, weights_BT)
            if number == 0:
                snapshot.refresh()
            if number == 1:
                optimizer.reset()
        with (
            Checkpoints(checkpoints, run.runtime, asynchronous=True) as store,
            writing_is_held() as go,
        ):
            path = store.save(3, run.model, optimizer, {"reference": snapshot}, STATE)
            early = store.whole_since(), path.exists()
            world_draws, then = draws(), facts(run, optimizer, snapshot)
            snapshot.refresh()
            optimizer.reset()
            go.set()
            waited = store.wait()
        return {
            "path": path,
            "early": early,
            "waited": waited,
            "again": store.whole_since(),
            "world_draws": world_draws,
            **then,
        }


def one_after_the_other(folder: Path, settings: Mapping[str, Any], checkpoints: Path) -> dict[str, Any]:
    """Saves in quick succession, of which at most one is in flight; the last is waited for by leaving."""
    with engine(folder, settings) as run:
        optimizer, most = run.optimizer(), 0
        with Checkpoints(checkpoints, run.runtime, asynchronous=True) as store:
            for step in range(1, 6):
                store.save(step, run.model, optimizer, {}, {"step": step}, score=float(step == 2))
                most = max(most, sum(thread.name.startswith("checkpoint") for thread in threading.enumerate()))
        return {"most": most, "left": sorted(path.name for path in checkpoints.glob("iter_*"))}


def full_disk_beside(folder: Path, settings: Mapping[str, Any], checkpoints: Path, rank: int) -> dict[str, Any]:
    """What is said, and where, when one rank's files may not grow: at a step boundary, at the next save, at the end."""
    with engine(folder, settings) as run:
        optimizer, told = run.optimizer(), {}
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        store = Checkpoints(checkpoints, run.runtime, asynchronous=True)
        store.save(1, run.model, optimizer, {}, {})
        store.wait()
        for number, place in enumerate(("boundary", "save", "leave"), start=2):
            if int(os.environ["RANK"]) == rank:
                resource.setrlimit(resource.RLIMIT_FSIZE, (100, hard))
            store.save(number, run.model, optimizer, {}, {})
            try:
                if place == "boundary":
                    while store.whole_since() is None:
                        time.sleep(0.01)
                elif place == "save":
                    store.save(9, run.model, optimizer, {}, {})
                else:
                    store.__exit__(None, None, None)
            except CheckpointError as error:
                told[place] = str(error)
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        left = sorted(path.name for path in checkpoints.iterdir())
        store.save(8, run.model, optimizer, {}, {})
        return {"told": told, "left": left, "again": store.wait()}


def flipped(folder: Path, settings: Mapping[str, Any], checkpoints: Path) -> dict[str, Any]:
    """One bit of each file in turn: what is said, what is found instead, and what is left after the next save."""
    with engine(folder, settings) as run, heard() as messages:
        optimizer = run.optimizer()
        store = Checkpoints(checkpoints, run.runtime, retention=Retention(keep_last=1))
        store.save(1, run.model, optimizer, {}, {})
        kept = Checkpoints(checkpoints, run.runtime, retention=Retention(keep_last=9))
        newest, told = kept.save(2, run.model, optimizer, {}, {}), {}
        for file in sorted(newest.iterdir()):
            flip(file)
            messages.clear()
            found = kept.newest()
            told[file.name] = found and found.name, "; ".join(messages)
            flip(file)
        flip(newest / "common.pt")
        found = store.newest()
        before = sorted(path.name for path in checkpoints.glob("iter_*"))
        store.save(3, run.model, optimizer, {}, {})
        after = sorted(path.name for path in checkpoints.glob("iter_*"))
        return {"told": told, "found": found and found.name, "before": before, "after": after}


def flip(file: Path) -> None:
    """One bit, by one rank, while the others wait; twice makes it whole again."""
    dist.barrier()
    if int(os.environ["RANK"]) == 0:
        content = bytearray(file.read_bytes())
        content[len(content) // 3] ^= 4
        file.write_bytes(content)
    dist.barrier()


def brought_back(folder: Path, settings: Mapping[str, Any], checkpoints: Path) -> dict[str, Any]:
    """The policy of the best checkpoint as the policy, and then as the reference; what training made of it before."""
    with engine(folder, settings) as run:
        rows, weights_BT = own_batch(run)
        optimizer, snapshot = run.optimizer(), WeightSnapshot(run.model)
        snapshots, start = {"reference": snapshot}, run.weights()
        store = Checkpoints(checkpoints, run.runtime, retention=Retention(keep_last=1, keep_best=1))
        for step, score in ((1, 0.2), (2, 0.7), (3, 0.7), (4, None)):
            update(run, optimizer, rows, weights_BT)
            if step == 2:
                then = run.weights()
            store.save(step, run.model, optimizer, snapshots, {}, score=score)
        now = run.weights()
        store.restore_policy(store.of_step(2), run.model, optimizer)
        policy, steps = run.weights(), adam_steps(optimizer)
        with snapshot.in_place():
            reference_before = run.weights()
        snapshot.refresh()
        with snapshot.in_place():
            reference = run.weights()
        update(run, optimizer, rows, weights_BT)
        moved = max(float((policy[name] - tensor).abs().max()) for name, tensor in run.weights().items())
        return {
            "index": (checkpoints / "index.json").read_text(),
            "reference": same(reference, then),
            "policy": same(policy, then),
            "untouched": same(reference_before, start),
            "differs": not same(now, then),
            "steps": steps,
            "moved": moved,
        }


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, other[name]) for name, tensor in one.items())
