"""What a rank really holds, in bytes: of a model, its optimizer and a frozen copy, and kept for a backward pass."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nemo_prorl.megatron.memory import MemoryEstimate
from nemo_prorl.megatron.snapshot import WeightSnapshot
from tests.megatron import scenarios
from tests.megatron.scenarios import TEMPERATURE, TokenRows


def estimated_and_held(folder: Path, settings: Mapping[str, Any], tokens: int) -> dict[str, tuple[int, int]]:
    """For each part the estimate and what is there, on this rank, with one row of so many tokens."""
    with scenarios.engine(folder, {"max_tokens_per_microbatch": tokens, **settings}) as run:
        estimate = MemoryEstimate(run.model.architecture, run.model.config, run.runtime.world.data_size)
        optimizer = run.optimizer()
        parameters = list(run.model.parameters())
        own = {parameter.untyped_storage().data_ptr() for parameter in parameters}
        inner = list(optimizer.torch_optimizers())
        masters = [master for one in inner for group in one.param_groups for master in group["params"]]
        moments = [value for one in inner for state in one.state.values() for value in state.values()]
        state = [one for one in (*masters, *moments) if one.dim() and one.untyped_storage().data_ptr() not in own]
        return {
            "parameters": (estimate.parameters(), _bytes(parameters)),
            "gradients": (
                estimate.gradients(),
                _bytes(buffer.grad_data for chunk in run.model.chunks for buffer in chunk.buffers),
            ),
            "optimizer": (estimate.optimizer(), _bytes(state)),
            "reference": (estimate.parameters(), _bytes(WeightSnapshot(run.model)._frozen)),
            "kept for backward": (estimate.activations(), _kept(run, tokens, own)),
        }


def _bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _kept(run: scenarios.Engine, tokens: int, own: set[int]) -> int:
    """Storage that autograd keeps between forward and backward, weights left out."""
    kept: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    row = TokenRows(torch.arange(tokens + 1)[None] % 200, torch.tensor([tokens + 1]))
    loss = scenarios.WeightedLoss(row, torch.ones(1, tokens))
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        run.schedule.train(row, TEMPERATURE, loss)
    return sum(kept.values())
