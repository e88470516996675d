"""What ranks do in these tests: functions that `run_ranks` starts, and the small things they share.

Letters: B rows, S tokens, T = S - 1 predicted tokens, V vocabulary.
"""

from __future__ import annotations

import logging
import os
import random
import resource
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.pipeline_parallel.schedules import get_forward_backward_func
from torch import Tensor

from nemo_prorl.algorithm.reduction import Mean, Metric, largest, smallest, token_mean
from nemo_prorl.config.schema import MegatronConfig, OptimizerConfig
from nemo_prorl.errors import CheckpointError, ConfigError, TrainingError
from nemo_prorl.megatron.checkpoint import Checkpoints
from nemo_prorl.megatron.model import PolicyModel, build_model
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.schedule import Schedule, TokenRows, TokenScores
from nemo_prorl.megatron.snapshot import WeightSnapshot
from nemo_prorl.megatron.vocab_parallel import logprobs_and_entropies
from nemo_prorl.megatron.weights import export_weights, load_weights
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.hf_folder import TensorReader
from tests.tiny_models import tiny_hf_folder

TEMPERATURE = 1.2
LENGTHS = (14, 6, 9, 12, 5, 14, 7, 10)
PROMPT_LENGTHS = (4, 2, 3, 1, 4, 5, 2, 3)


@dataclass(frozen=True)
class Engine:
    runtime: Runtime
    model: PolicyModel
    schedule: Schedule

    def optimizer(self, **settings: Any) -> PolicyOptimizer:
        return PolicyOptimizer(self.model, OptimizerConfig(**{"lr": 1e-3, **settings}), total_steps=100)

    def weights(self) -> dict[str, Tensor]:
        """The whole model under Hugging Face's names; collective."""
        return {name: tensor.clone() for name, tensor in export_weights(self.model)}


@contextmanager
def engine(folder: Path, settings: Mapping[str, Any]) -> Iterator[Engine]:
    """A rank's part of the model in `folder`, in the layout that `settings` of MegatronConfig say."""
    config = MegatronConfig(**{"vocabulary_multiple": 16, "sequences_per_microbatch": 3, **settings})
    with Runtime.start(config, seed=0, torch_threads=1) as runtime:
        model = build_model(Architecture.read(folder), config, runtime)
        with TensorReader(folder) as reader:
            load_weights(model, reader)
        yield Engine(runtime, model, Schedule(model, runtime))


def batch(vocab_size: int, seed: int = 0) -> tuple[TokenRows, Tensor]:
    """Eight rows with prompts, all of different kinds of length, and a weight for every predicted token."""
    generator = torch.Generator().manual_seed(seed)
    tokens_BS = torch.randint(0, vocab_size, (len(LENGTHS), max(LENGTHS)), generator=generator)
    rows = TokenRows(tokens_BS, torch.tensor(LENGTHS), torch.tensor(PROMPT_LENGTHS))
    return rows, torch.randn(rows.scored_BT.shape, generator=generator)


def share(rows: TokenRows, weights_BT: Tensor, rank: int, size: int) -> tuple[TokenRows, Tensor]:
    """What one of `size` data-parallel ranks trains on: unequal shares on purpose."""
    cuts = [0, *(len(LENGTHS) * (number + 1) // size + 1 for number in range(size - 1)), len(LENGTHS)]
    mine = slice(cuts[rank], cuts[rank + 1])
    assert rows.prompt_lengths_B is not None
    return TokenRows(rows.tokens_BS[mine], rows.lengths_B[mine], rows.prompt_lengths_B[mine]), weights_BT[mine]


class WeightedLoss:
    """A loss in which every token counts differently and entropy has a gradient too."""

    def __init__(self, rows: TokenRows, weights_BT: Tensor) -> None:
        self.scored_BT, self.weights_BT = rows.scored_BT, weights_BT

    def __call__(self, scores: TokenScores, indices: Tensor) -> tuple[Mean, dict[str, Metric]]:
        width = scores.logprobs_BT.shape[1]
        mask_BT, weights_BT = self.scored_BT[indices, :width], self.weights_BT[indices, :width]
        values_BT = -weights_BT * scores.logprobs_BT - 0.1 * scores.entropies_BT
        return token_mean(values_BT, mask_BT), {
            "entropy": token_mean(scores.entropies_BT.detach(), mask_BT),
            "largest": largest(scores.logprobs_BT, mask_BT),
            "smallest": smallest(scores.logprobs_BT, mask_BT),
        }


@contextmanager
def gradients_as_weights(model: PolicyModel) -> Iterator[None]:
    """Inside, the parameters show the gradients that the optimizer would see."""
    kept = [parameter.data for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.data = parameter.main_grad.to(parameter.dtype, copy=True)
    yield
    for parameter, data in zip(model.parameters(), kept, strict=True):
        parameter.data = data


def trained(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Scores, loss, metrics and gradients of the batch, and the weights after two updates."""
    with engine(folder, settings) as run:
        world, schedule = run.runtime.world, run.schedule
        rows, weights_BT = share(*batch(run.model.architecture.vocab_size), world.data_rank, world.data_size)
        loss = WeightedLoss(rows, weights_BT)
        scores = schedule.score(rows, TEMPERATURE)
        optimizer = run.optimizer()
        told: dict[str, Any] = {"data_rank": world.data_rank, "source": run.weights()}
        told["scores"] = [tensor[rows.scored_BT] for tensor in scores]
        told["unscored"] = [tensor[~rows.scored_BT] for tensor in scores]
        told["forward_only"] = schedule.train(rows, TEMPERATURE, loss, forward_only=True)[0].value
        for update in range(2):
            optimizer.zero_grad()
            mean, metrics = schedule.train(rows, TEMPERATURE, loss)
            told[f"update {update}"] = {name: metric.value for name, metric in {"loss": mean, **metrics}.items()}
            if update == 0 and not run.model.config.distributed_optimizer:
                with gradients_as_weights(run.model):
                    told["gradients"] = run.weights()
            told[f"update {update}"] |= optimizer.step()
        told["weights"] = run.weights()
        return told


def logits_and_weights(folders: list[Path], settings: Mapping[str, Any]) -> list[dict[str, Any]]:
    """For each model its logits over the whole batch (on the last stage, else None) and the stream of its weights."""
    config = MegatronConfig(vocabulary_multiple=16, **settings)
    told = []
    with Runtime.start(config, seed=0, torch_threads=1) as runtime:
        for folder in folders:
            model = build_model(Architecture.read(folder), config, runtime)
            with TensorReader(folder) as reader:
                load_weights(model, reader)
            rows, _ = batch(model.architecture.vocab_size)
            told.append({"logits": _logits(model, rows.tokens_BS), "weights": list(export_weights(model))})
    return told


@torch.no_grad()
def _logits(model: PolicyModel, tokens_BS: Tensor) -> Tensor | None:
    """[B, S, padded V], through Megatron's schedule, without ours."""
    B, S = tokens_BS.shape

    def step(iterator: Iterator[Tensor], chunk: Any) -> tuple[Tensor, Any]:
        tokens = next(iterator)
        output = chunk(tokens, torch.arange(S).expand_as(tokens), None)
        return output, lambda logits: (torch.zeros(()), torch.ones((), dtype=torch.int32), {"logits": logits})

    model.gpt.eval()
    parts = get_forward_backward_func()(
        forward_step_func=step,
        data_iterator=iter([tokens_BS]),
        model=model.chunks,
        num_microbatches=1,
        seq_length=S,
        micro_batch_size=B,
        forward_only=True,
    )
    if not parts:
        return None
    group = parallel_state.get_tensor_model_parallel_group()
    shards = [torch.empty_like(parts[0]["logits"]) for _ in range(group.size())]
    dist.all_gather(shards, parts[0]["logits"].contiguous(), group=group)
    return torch.cat(shards, dim=-1)


def scores_of_shards(
    logits_NV: Tensor, targets_N: Tensor, weights_2N: Tensor, vocab_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Logprobs, entropies, and the gradient of this rank's columns."""
    with Runtime.start(MegatronConfig(tensor_parallel_size=2), seed=0, torch_threads=1) as runtime:
        group = parallel_state.get_tensor_model_parallel_group()
        leaf = logits_NV.chunk(2, dim=1)[runtime.world.rank].clone().requires_grad_()
        logprobs_N, entropies_N = logprobs_and_entropies(
            leaf * 1.0, targets_N, temperature=1.2, vocab_size=vocab_size, group=group
        )
        (weights_2N[0] * logprobs_N + weights_2N[1] * entropies_N).sum().backward()
        assert leaf.grad is not None
        return logprobs_N.detach(), entropies_N.detach(), leaf.grad


# -- optimizer and snapshot ------------------------------------------------------------------------------------------


def update(run: Engine, optimizer: PolicyOptimizer, rows: TokenRows, weights_BT: Tensor) -> dict[str, float]:
    """One update on this rank's rows; what it says."""
    optimizer.zero_grad()
    mean, _ = run.schedule.train(rows, TEMPERATURE, WeightedLoss(rows, weights_BT))
    return {"loss": mean.value, **optimizer.step()}


def own_batch(run: Engine, seed: int = 0) -> tuple[TokenRows, Tensor]:
    world = run.runtime.world
    return share(*batch(run.model.architecture.vocab_size, seed), world.data_rank, world.data_size)


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


def losses(folder: Path, settings: Mapping[str, Any], updates: int, **optimizer_settings: Any) -> list[float]:
    """Of updates on one and the same batch, then the dtypes of the weights in the model and of the masters."""
    with engine(folder, settings) as run:
        optimizer = run.optimizer(**optimizer_settings)
        rows, _ = own_batch(run)
        ones_BT = torch.ones(rows.scored_BT.shape)
        return [update(run, optimizer, rows, ones_BT)["loss"] for _ in range(updates)]


def beside_torch(folder: Path) -> dict[str, Any]:
    """Two of our updates and two of torch's AdamW from the same start with the same gradients."""
    settings = {"lr": 1e-2, "warmup_steps": 2, "clip_grad_norm": 0.1, "weight_decay": 0.1, "beta2": 0.99}
    with engine(folder, {}) as run:
        optimizer = run.optimizer(**settings)
        rows, weights_BT = own_batch(run)
        named = dict(run.model.gpt.named_parameters())
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
            assert abs(optimizer.step()["optimizer/grad_norm"] - norm.item()) < 1e-5 * norm.item()
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


# -- checkpoints -----------------------------------------------------------------------------------------------------

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
    parts = getattr(optimizer.megatron, "chained_optimizers", [optimizer.megatron])
    return {float(state["step"]) for part in parts for state in part.optimizer.state.values()}


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
        path = Checkpoints(checkpoints, run.runtime, keep_last=1).save(
            3, run.model, optimizer, {"reference": snapshot}, STATE
        )
        return {"path": path, "world_draws": draws(), **facts(run, optimizer, snapshot)}


def restored(folder: Path, settings: Mapping[str, Any], checkpoints: Path) -> dict[str, Any]:
    """The same from the newest checkpoint, by a run that has just begun."""
    with engine(folder, settings) as run:
        optimizer, snapshot = run.optimizer(warmup_steps=5), WeightSnapshot(run.model)
        store = Checkpoints(checkpoints, run.runtime, keep_last=1)
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
        store = Checkpoints(checkpoints, run.runtime, keep_last=keep_last)
        yield store, lambda step: store.save(step, run.model, optimizer, {}, {"step": step})


def torn(folder: Path, checkpoints: Path, kind: str) -> dict[str, Any]:
    """Which checkpoint is found after the newest of two was damaged, and what is said about it."""
    messages: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: messages.append(record.getMessage())  # type: ignore[method-assign]
    logging.getLogger("nemo_prorl").addHandler(handler)
    with checkpointer(folder, {}, checkpoints) as (store, save):
        save(1), save(2)
        newest = store.newest()
        assert newest is not None
        largest_file = max(newest.iterdir(), key=lambda path: path.stat().st_size)
        if kind == "truncated":
            os.truncate(largest_file, largest_file.stat().st_size - 1)
        elif kind == "altered":
            content = bytearray(largest_file.read_bytes())
            content[len(content) // 2] ^= 1
            largest_file.write_bytes(content)
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
                Checkpoints(checkpoints, run.runtime, keep_last=1).restore(path, run.model, None, snapshots)
            except CheckpointError as error:
                messages.append(str(error))
    return messages


# -- runtime and the CPU door ----------------------------------------------------------------------------------------


def behind_the_door() -> dict[str, Any]:
    """What is different after the door was opened and a bf16 model with tied embeddings was built and trained."""
    owners = {"torch": torch, "torch.Tensor": torch.Tensor, "torch.cuda": torch.cuda, "torch.autograd": torch.autograd}
    before = {(name, key): value for name, owner in owners.items() for key, value in vars(owner).items()}
    with tempfile.TemporaryDirectory() as root:
        folder = tiny_hf_folder(Path(root), "qwen2", tied=True)
        losses(folder, {"precision": "bf16", "distributed_optimizer": True}, updates=1)
    changed = [
        f"{name}.{key}"
        for (name, key), value in before.items()
        if vars(owners[name]).get(key) is not value and not key.startswith("_") and not isinstance(value, ModuleType)
    ]
    import megatron.core.transformer.moe.router as late_module
    import megatron.core.utils as early_module

    try:
        torch.zeros(1, device="cuda")
        error = None
    except Exception as raised:
        error = type(raised).__name__
    return {
        "changed in torch": changed,
        "megatron makes tensors on": early_module.torch.zeros(1, device="cuda").device.type,
        "megatron's late modules see the proxy": late_module.torch is early_module.torch is not torch,
        "cuda for us": error,
    }


def hello() -> dict[str, Any]:
    """Who this rank is, and that the world's verbs work."""
    with Runtime.start(MegatronConfig(), seed=0, torch_threads=1) as runtime:
        world = runtime.world
        return {
            "rank": (world.rank, world.size, world.data_rank, world.data_size, world.is_main),
            "gathered": world.gather(world.rank * 10),
            "broadcast": world.broadcast(f"from {world.rank}"),
            "shared": world.share_out({world.rank: f"item {world.rank}"}, [world.size - 1, 0]),
            "device": str(runtime.device),
        }


def started_with(environment: Mapping[str, str], settings: Mapping[str, Any]) -> str | tuple[int, int]:
    """(rank, size) under an environment of our own, or the error."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name)
    os.environ.update(environment)
    try:
        with Runtime.start(MegatronConfig(**settings), seed=0, torch_threads=1) as runtime:
            return runtime.world.rank, runtime.world.size
    except ConfigError as error:
        return str(error)


def twice() -> list[int]:
    """A runtime can be started again after it was closed."""
    for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        os.environ.pop(name)
    sizes = []
    for _ in range(2):
        with Runtime.start(MegatronConfig(), seed=0, torch_threads=1) as runtime:
            sizes.append(runtime.world.size)
    return sizes


def fails() -> str:
    return os.environ["RANKS"]
