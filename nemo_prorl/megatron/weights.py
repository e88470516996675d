"""Weights into and out of this rank's part of a Megatron model, by the family's weight map."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import torch
from megatron.core import parallel_state
from torch import Tensor

from nemo_prorl.errors import WeightsError
from nemo_prorl.megatron.buckets import Gathering, plain
from nemo_prorl.megatron.interop.hf_view import HuggingFaceView
from nemo_prorl.megatron.model import PolicyModel, named_parameters
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.hf_folder import TensorReader


@torch.no_grad()
def load_weights(model: PolicyModel, reader: TensorReader | HuggingFaceView) -> None:
    """Fill this rank's parameters from a Hugging Face folder; each rank reads only what it holds.

    Raises:
        WeightsError: the folder lacks a tensor, has one too many, or one of another shape; all of them are listed.
    """
    operations = weight_map(model.architecture)
    reader.check(model.architecture)
    rank, size = parallel_state.get_tensor_model_parallel_rank(), parallel_state.get_tensor_model_parallel_world_size()
    for name, parameter in named_parameters(model):
        if name not in operations:
            raise WeightsError(f"Megatron's parameter {name} has no entry in the weight map; please report this")
        tensors = [reader.get(hf_name) for hf_name in operations[name].hf_names]
        values = operations[name].to_megatron(tensors, rank, size, model.padded_vocab)
        parameter.copy_(values)
        if hasattr(parameter, "get_high_precision_init_val"):
            # Of 8 bits: the optimizer makes its masters of what it was before (distrib_optimizer.py:385).
            parameter._high_precision_init_val = values.cpu()  # type: ignore[attr-defined]


@torch.no_grad()
def export_weights(model: PolicyModel) -> Iterator[tuple[str, Tensor]]:
    """The whole model as a stream of (Hugging Face name, tensor), the same for every split and on every rank.

    Collective: every rank must take the stream to its end. Parameters are gathered a bucket at a time, the next one
    while the consumer is busy. What a rank holds whole may come as the parameter itself, and does where it holds the
    whole model: who keeps tensors beyond the next update makes a copy.
    """
    mine = dict(named_parameters(model))
    operations = {name: operation for name, operation in weight_map(model.architecture).items() if operation.exported}
    for name, shards in _shards(mine, list(operations)):
        yield from zip(operations[name].hf_names, operations[name].to_hf(shards), strict=True)


def _shards(mine: Mapping[str, Tensor], names: Sequence[str]) -> Iterator[tuple[str, list[Tensor]]]:
    """Those of `names` that the model has, each with the shards of all tensor-parallel ranks."""
    if parallel_state.get_model_parallel_group().size() == 1:
        for name in names:
            if name in mine:
                yield name, [plain(mine[name])]
        return
    gathering = Gathering(mine)
    yield from gathering.shards([name for name in names if name in gathering.held])
