"""Weights into and out of this rank's part of a Megatron model, by the family's weight map."""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.fp8_utils import dequantize_fp8_tensor, is_float8tensor
from torch import Tensor

from nemo_prorl.errors import WeightsError
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

    Collective: every rank must take the stream to its end. One Megatron tensor is gathered at a time.
    """
    mine = dict(named_parameters(model))
    owners = _owning_stages(list(mine))
    for name, operation in weight_map(model.architecture).items():
        if operation.exported and name in owners:
            shards = _gathered(mine.get(name), owners[name])
            yield from zip(operation.hf_names, operation.to_hf(shards), strict=True)


def _owning_stages(names: list[str]) -> dict[str, int]:
    """For each parameter the first pipeline stage that holds it."""
    group = parallel_state.get_pipeline_model_parallel_group()
    held: list[list[str]] = [names]
    if group.size() > 1:
        held = [[] for _ in range(group.size())]
        dist.all_gather_object(held, names, group=group)
    owners: dict[str, int] = {}
    for stage, stage_names in enumerate(held):
        for name in stage_names:
            owners.setdefault(name, stage)
    return owners


def _gathered(parameter: Tensor | None, stage: int) -> list[Tensor]:
    """The shards of all tensor-parallel ranks of pipeline stage `stage`, on every rank, detached from the model."""
    pipeline = parallel_state.get_pipeline_model_parallel_group()
    shard = None if parameter is None else _plain(parameter.detach())
    if pipeline.size() > 1:
        source = dist.get_global_rank(pipeline, stage)
        holds = pipeline.rank() == stage
        head = [(shard.shape, shard.dtype) if holds and shard is not None else None]
        dist.broadcast_object_list(head, src=source, group=pipeline)
        assert head[0] is not None
        if not holds:
            shard = torch.empty(head[0][0], dtype=head[0][1], device=_device())
        assert shard is not None
        shard = shard.clone() if holds else shard
        dist.broadcast(shard, src=source, group=pipeline)
    assert shard is not None
    group = parallel_state.get_tensor_model_parallel_group()
    if group.size() == 1:
        return [shard.clone()]
    shards = [torch.empty_like(shard) for _ in range(group.size())]
    dist.all_gather(shards, shard.contiguous(), group=group)
    return shards


def _plain(tensor: Tensor) -> Tensor:
    """In 16 or 32 bits, whatever it is kept in: as the layers' products see it."""
    plain: Tensor = dequantize_fp8_tensor(tensor) if is_float8tensor(tensor) else tensor
    return plain


def _device() -> torch.device:
    return torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
