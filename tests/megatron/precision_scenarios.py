"""What ranks do in the tests of precision, on CPUs here and on GPUs in tests/gpu."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nemo_prorl.algorithm.reduction import Mean, Metric, token_mean
from nemo_prorl.megatron.model import named_parameters
from nemo_prorl.megatron.snapshot import WeightSnapshot
from nemo_prorl.megatron.weights import export_weights, load_weights
from nemo_prorl.weights.hf_folder import TensorReader
from tests.megatron import scenarios
from tests.megatron.scenarios import TEMPERATURE, Engine, TokenRows, TokenScores

PARTS = 2
BF16 = {"precision": "bf16"}


class Seen:
    """A loss that remembers the logprobs it was given, [B, T]."""

    def __init__(self, rows: TokenRows) -> None:
        self.scored_BT = rows.scored_BT
        self.logprobs_BT = torch.zeros(rows.scored_BT.shape)

    def __call__(self, scores: TokenScores, indices: Tensor) -> tuple[Mean, dict[str, Metric]]:
        width, device = scores.logprobs_BT.shape[1], scores.logprobs_BT.device
        assert scores.logprobs_BT.dtype == scores.entropies_BT.dtype == torch.float32
        self.logprobs_BT[indices.cpu(), :width] = scores.logprobs_BT.detach().cpu()
        return token_mean(-scores.logprobs_BT, self.scored_BT[indices.cpu(), :width].to(device)), {}


def ratios_of_updates(folder: Path, layouts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each layout, largest |logprob in an update - logprob scored before| of a step's two updates, and how far the
    reference, which is the policy as it was, is from those scores before and after. On the last stage; elsewhere 0."""
    return [_ratios(folder, layout) for layout in layouts]


def _ratios(folder: Path, layout: Mapping[str, Any]) -> dict[str, Any]:
    with scenarios.engine(folder, layout) as run:
        rows, _ = scenarios.batch(run.model.architecture.vocab_size)
        rows = replace(rows, parts=PARTS)
        optimizer, reference = run.optimizer(), WeightSnapshot(run.model)
        old = run.schedule.score(rows, TEMPERATURE)
        distances = []
        for numbers, part in rows.each_part():
            optimizer.zero_grad()
            seen = Seen(part)
            mean, _ = run.schedule.train(part, TEMPERATURE, seen)
            scenarios.step(optimizer)
            old_BT = old.logprobs_BT[numbers, : seen.logprobs_BT.shape[1]].cpu()
            computed = run.schedule._is_last_stage
            distances.append(float((seen.logprobs_BT - old_BT).abs().max()) if computed else 0.0)
        with reference.in_place():
            again = run.schedule.score(rows, TEMPERATURE)
        return {
            "updates": distances,
            "reference": float((again.logprobs_BT - old.logprobs_BT).abs().max()),
            "computed": run.schedule._is_last_stage,
            "dtypes": {tensor.dtype for tensor in old} | {mean.total.dtype},
        }


def state_dtypes(folder: Path, settings: Mapping[str, Any]) -> dict[str, set[torch.dtype]]:
    """Of what a run holds after an update: weights, gradients, masters and moments; and of what is handed out."""
    with scenarios.engine(folder, settings) as run:
        optimizer = run.optimizer()
        rows, weights_BT = scenarios.own_batch(run)
        scenarios.update(run, optimizer, rows, weights_BT)
        inner = list(optimizer.torch_optimizers())
        masters = [master for one in inner for group in one.param_groups for master in group["params"]]
        moments = [value for one in inner for state in one.state.values() for name, value in state.items()]
        saved = _tensors(optimizer.megatron.state_dict())
        return {
            "weights": {parameter.dtype for parameter in run.model.parameters()},
            "gradients": {buffer.grad_data.dtype for chunk in run.model.chunks for buffer in chunk.buffers},
            "masters": {master.dtype for master in masters},
            "moments": {moment.dtype for moment in moments if isinstance(moment, Tensor)},
            "saved": {tensor.dtype for tensor in saved},
            "handed out": {tensor.dtype for _, tensor in export_weights(run.model)},
        }


def kept_for_masters(folder: Path) -> tuple[bool, bool]:
    """Whether a parameter that remembers what it was, as 8-bit ones do, is told what was loaded; and if others are.

    The parameter is a plain one with the two methods that Transformer Engine gives its own.
    """
    with scenarios.engine(folder, BF16) as run:
        first, *others = (parameter for _, parameter in named_parameters(run.model))
        first._high_precision_init_val = torch.zeros_like(first)
        first.get_high_precision_init_val = lambda: first._high_precision_init_val
        with TensorReader(folder) as reader:
            load_weights(run.model, reader)
        remembered = first.get_high_precision_init_val()
        return torch.equal(remembered.to(first.dtype), first), any(
            hasattr(one, "_high_precision_init_val") for one in others
        )


def memory_left(folder: Path, settings: Mapping[str, Any], times: int) -> list[int]:
    """Bytes on the device after each of several runs in one process, each from its process group to its end."""
    left = []
    for _ in range(times):
        scored_and_differentiated(folder, settings)
        gc.collect()
        left.append(torch.cuda.memory_allocated() if torch.cuda.is_available() else 0)
    return left


def _tensors(state: Any) -> list[Tensor]:
    if isinstance(state, Tensor):
        return [state] if state.is_floating_point() else []
    values = state.values() if isinstance(state, dict) else state if isinstance(state, list | tuple) else []
    return [tensor for value in values for tensor in _tensors(value)]


def scored_and_differentiated(folder: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Logprobs of scored predictions, and the gradient of each weight, of the batch that all precisions see."""
    with scenarios.engine(folder, settings) as run:
        rows, weights_BT = scenarios.own_batch(run)
        return {
            "logprobs": run.schedule.score(rows, TEMPERATURE).logprobs_BT.cpu()[rows.scored_BT],
            "gradients": _gradients(run, rows, weights_BT),
        }


def masters_and_losses(folder: Path, settings: Mapping[str, Any], updates: int = 3) -> dict[str, Any]:
    """How far masters, and weights, are from what bf16 makes of the folder; then losses of updates on one batch."""
    with scenarios.engine(folder, {**settings, "precision": "bf16", "fp8": {}}) as run:
        loaded = {name: parameter.detach().float() for name, parameter in named_parameters(run.model)}
    with scenarios.engine(folder, settings) as run:
        optimizer = run.optimizer()
        masters, weights = [], []
        for name, parameter in named_parameters(run.model):
            expected = loaded[name].flatten()
            masters.append(float((parameter.main_param.flatten() - expected).abs().max()))
            weights.append(float((parameter.detach().float().flatten() - expected).abs().max() / expected.abs().max()))
        rows, _ = scenarios.own_batch(run)
        ones_BT = torch.ones(rows.scored_BT.shape)
        losses = [scenarios.update(run, optimizer, rows, ones_BT)["loss"] for _ in range(updates)]
        return {"masters_apart": max(masters), "weights_apart": max(weights), "losses": losses, "kind": optimizer.kind}


def _gradients(run: Engine, rows: TokenRows, weights_BT: Tensor) -> dict[str, Tensor]:
    optimizer = run.optimizer()
    optimizer.zero_grad()
    run.schedule.train(rows, TEMPERATURE, scenarios.WeightedLoss(rows, weights_BT))
    with scenarios.gradients_as_weights(run.model):
        return {name: tensor.float().cpu() for name, tensor in run.weights().items()}


def apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, float]:
    """How far two precisions are apart: |logprob difference|, and the cosine between the whole gradients."""
    errors = (one["logprobs"] - other["logprobs"]).abs()
    pairs = [(one["gradients"][name].flatten(), other["gradients"][name].flatten()) for name in one["gradients"]]
    first, second = (torch.cat(side).double() for side in zip(*pairs, strict=True))
    return {
        "logprob_error_mean": float(errors.mean()),
        "logprob_error_99": float(errors.quantile(0.99)),
        "logprob_error_max": float(errors.max()),
        "gradient_cosine": float(first @ second / (first.norm() * second.norm())),
    }
