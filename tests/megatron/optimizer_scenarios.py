"""What ranks do in the tests of the optimizer and of snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from nemo_prorl.config.schema import OptimizerConfig
from nemo_prorl.errors import TrainingError
from nemo_prorl.megatron.offload import TrainingMemory
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.snapshot import WeightSnapshot
from tests.megatron.scenarios import TEMPERATURE, Engine, WeightedLoss, engine, own_batch, update


def reset_and_snapshot(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """An optimizer after a reset beside a fresh one on the same weights; a snapshot while the policy moves."""
    with engine(folder, settings) as run:
        rows, weights_BT = own_batch(run)
        optimizer, snapshot = run.optimizer(), WeightSnapshot(run.model)
        told: dict[str, Any] = {"source": run.weights()}
        told["reference, fresh"] = run.schedule.score(rows, TEMPERATURE).logprobs_BT
        for _ in range(2):
            update(run, optimizer, rows, weights_BT)
        with snapshot.in_place():
            told["reference, moved"] = run.schedule.score(rows, TEMPERATURE).logprobs_BT
            told["frozen"] = run.weights()
        told["policy"] = run.schedule.score(rows, TEMPERATURE).logprobs_BT
        snapshot.refresh()
        with snapshot.in_place():
            told["reference, reset"] = run.schedule.score(rows, TEMPERATURE).logprobs_BT

        start = [parameter.detach().clone() for parameter in run.model.parameters()]
        optimizer.reset()
        told["after reset"] = [update(run, optimizer, rows, weights_BT) for _ in range(2)], run.weights()
        told["updates"] = optimizer.updates
        with torch.no_grad():
            for parameter, value in zip(run.model.parameters(), start, strict=True):
                parameter.copy_(value)
        told["after fresh"] = (
            [update(run, fresh, rows, weights_BT) for fresh in [run.optimizer()] for _ in range(2)],
            (run.weights()),
        )
        return told


def spoiled(folder: Path, settings: Mapping[str, Any], value: float) -> dict[str, Any]:
    """What comes of one gradient element of the last rank being `value`."""
    with engine(folder, settings) as run:
        optimizer = run.optimizer()
        rows, weights_BT = own_batch(run)
        before = run.weights()
        optimizer.zero_grad()
        run.schedule.train(rows, TEMPERATURE, WeightedLoss(rows, weights_BT))
        if run.runtime.world.rank == run.runtime.world.size - 1:
            next(run.model.parameters()).main_grad.view(-1)[0] = value
        try:
            optimizer.step()
            error = None
        except TrainingError as raised:
            error = str(raised)
        after = run.weights()
        unchanged = all(torch.equal(tensor, after[name]) for name, tensor in before.items())
        return {"error": error, "unchanged": unchanged, "then": update(run, optimizer, rows, weights_BT)["loss"]}


def objected_to(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What is said, and what comes of it, when the last rank objects to an update whose gradient is fine."""
    with engine(folder, settings) as run:
        optimizer, before = run.optimizer(), run.weights()
        rows, weights_BT = own_batch(run)
        optimizer.zero_grad()
        run.schedule.train(rows, TEMPERATURE, WeightedLoss(rows, weights_BT))
        is_last = run.runtime.world.rank == run.runtime.world.size - 1
        try:
            optimizer.step(objection="policy/ratio_max is inf" if is_last else "")
            error = None
        except TrainingError as raised:
            error = str(raised)
        after = run.weights()
        return {"error": error, "unchanged": all(torch.equal(tensor, after[name]) for name, tensor in before.items())}


def beside_torch(folder: Path) -> dict[str, Any]:
    """Two of our updates and two of torch's AdamW from the same start with the same gradients."""
    settings = {"lr": 1e-2, "warmup_steps": 2, "clip_grad_norm": 0.1, "weight_decay": 0.1, "beta2": 0.99}
    with engine(folder, {}) as run:
        optimizer = run.optimizer(**settings)
        rows, weights_BT = own_batch(run)
        named = dict(run.model.gpts[0].named_parameters())
        copies = {name: parameter.detach().clone().requires_grad_() for name, parameter in named.items()}
        # Megatron decays matrices only.
        groups = [
            {"params": [copy for copy in copies.values() if copy.dim() > 1], "weight_decay": 0.1},
            {"params": [copy for copy in copies.values() if copy.dim() == 1], "weight_decay": 0.0},
        ]
        beside = torch.optim.AdamW(groups, lr=1.0, betas=(0.9, 0.99), eps=1e-8)
        clipped = True
        for number in range(2):
            optimizer.zero_grad()
            run.schedule.train(rows, TEMPERATURE, WeightedLoss(rows, weights_BT))
            for name, copy in copies.items():
                copy.grad = named[name].main_grad.clone()
            norm = torch.nn.utils.clip_grad_norm_(copies.values(), 0.1)
            clipped = clipped and norm.item() > 0.1
            for group in beside.param_groups:
                group["lr"] = 1e-2 * (number + 1) / 2
            beside.step()
            told = optimizer.step()
            for name in ("optimizer/grad_norm", "optimizer/grad_norm_max"):
                assert abs(told[name].value - norm.item()) < 1e-5 * norm.item()
            assert told["optimizer/grad_norm"].count == 1
        ours = {name: parameter.detach().clone() for name, parameter in named.items()}
        return {"ours": ours, "torch": {name: copy.detach() for name, copy in copies.items()}, "clipped": clipped}


def learning_rates(folder: Path) -> list[float]:
    with engine(folder, {}) as run:
        config = OptimizerConfig(lr=1.0, warmup_steps=2, final_lr_fraction=0.5)
        optimizer = PolicyOptimizer(run.model, config, total_steps=6)
        rates = []
        for updates in range(8):
            optimizer.updates = updates
            rates.append(optimizer.lr)
        return rates


class FusedLike(torch.optim.Optimizer):
    """Stands in for an Adam that is not torch's, as far as moments go: it has none until it is told to."""

    def __init__(self, groups: list[dict[str, Any]]) -> None:
        super().__init__([torch.zeros(1)], {"lr": 1.0})
        self.param_groups = groups  # a cut out part of a buffer is none that torch would take


def moments_of_another_adam(folder: Path, settings: Mapping[str, Any]) -> list[list[tuple[list[str], bool]]]:
    """Of each part after a reset, for each parameter: names in its state, and whether all is zero and of its shape."""
    with engine(folder, settings) as run:
        optimizer = run.optimizer()
        parts = getattr(optimizer.megatron, "chained_optimizers", [optimizer.megatron])
        for part in parts:
            part.optimizer = FusedLike(part.optimizer.param_groups)
        optimizer.reset()
        return [
            [
                (sorted(state), all(torch.equal(tensor, torch.zeros_like(parameter)) for tensor in state.values()))
                for group in part.optimizer.param_groups
                for parameter in group["params"]
                for state in [part.optimizer.state[parameter]]
            ]
            for part in parts
        ]


def with_memory_given_back(folder: Path) -> dict[str, Any]:
    """Three updates with everything resident, and three with gradients given back and state on the host between them.

    On a CPU the host is where state is already, so that of its moves only the bookkeeping is seen.
    """
    told: dict[str, Any] = {}
    for name, parts in {"resident": [], "released": ["gradients", "optimizer"]}.items():
        with engine(folder, {"precision": "bf16"}) as run:
            optimizer = run.optimizer()
            memory = TrainingMemory(run.model, optimizer, parts)
            rows, weights_BT = own_batch(run)
            storages = [buffer.grad_data.untyped_storage() for chunk in run.model.chunks for buffer in chunk.buffers]
            size, losses = sum(storage.size() for storage in storages), []
            for number in range(3):
                memory.restore()
                losses.append(update(run, optimizer, rows, weights_BT))
                memory.release()
                if parts:
                    told["bytes_while_released"] = sum(storage.size() for storage in storages)
                with memory.here():
                    assert sum(storage.size() for storage in storages) == size
                    if number == 1:
                        optimizer.reset()
            told |= {name: losses, "freed_bytes": size}
            told |= _snapshot_on_host(run)
    return told


def _snapshot_on_host(run: Engine) -> dict[str, bool]:
    rows, _ = own_batch(run)
    snapshot = WeightSnapshot(run.model, on_host=True)
    before = run.schedule.score(rows, TEMPERATURE).logprobs_BT
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.mul_(0.5)
    snapshot.fetch()
    with snapshot.in_place():
        unchanged = torch.equal(run.schedule.score(rows, TEMPERATURE).logprobs_BT, before)
    with torch.no_grad(), snapshot.in_place(writing=True):
        for parameter in run.model.parameters():
            parameter.fill_(0.25)
    with snapshot.in_place():
        kept = all(bool((parameter == 0.25).all()) for parameter in run.model.parameters())
    return {"reference_unchanged": unchanged, "written_is_kept": kept}
