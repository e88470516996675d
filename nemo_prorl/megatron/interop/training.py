"""What a training's checkpoint holds for Megatron-LM and Megatron-Bridge, beside what we read ourselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from megatron.core import parallel_state
from megatron.core.dist_checkpointing.mapping import ShardedObject

from nemo_prorl.megatron.interop.neighbours import bridge_files, megatron_lm_entries
from nemo_prorl.megatron.interop.torch_dist_sink import state_places
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.precision import precision_of
from nemo_prorl.weights.architecture import Architecture


def for_megatron_lm(model: PolicyModel, step: int) -> dict[str, Any]:
    """`args`, `iteration` and the states that Transformer Engine's modules ask for where ours have none."""
    entries = megatron_lm_entries(_stored(model), model.padded_vocab, step)
    return entries if model.uses_te else entries | {"transformer_engine_states": _empty_states(model)}


def described(model: PolicyModel, step: int) -> dict[str, bytes]:
    """run_config.yaml and train_state.pt."""
    return bridge_files(_stored(model), model.padded_vocab, step)


def _stored(model: PolicyModel) -> Architecture:
    """The architecture with the dtype that parameters have here."""
    return replace(model.architecture, dtype=precision_of(model.config).dtype)


def _empty_states(model: PolicyModel) -> dict[str, ShardedObject]:
    """Those that our local layers don't have: their projections have theirs, on the rank that holds the layer."""
    replica = (
        parallel_state.get_pipeline_model_parallel_rank(),
        parallel_state.get_tensor_model_parallel_rank(),
        parallel_state.get_data_parallel_rank(with_context_parallel=True),
    )
    states = {}
    for key, number, count in state_places(model.architecture):
        if ".linear_" not in key:
            entry = ShardedObject(key, None, (count,), (number,), replica_id=replica)
            states[entry.unique_key] = entry
    return states
