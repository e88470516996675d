"""What a rollout engine keeps on the device, as far as its knobs say: for `--dry-run`."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import signature
from typing import Any, NamedTuple

from nemo_prorl.config.choice import Choice, as_knobs
from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.chips import CHIPS
from nemo_prorl.megatron.memory import EngineMemory
from nemo_prorl.plugins import configured
from nemo_prorl.rollout.engine import ROLLOUT_ENGINES
from nemo_prorl.weights.architecture import Architecture

BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}


class RolloutKnobs(NamedTuple):
    """An engine's name and its knobs, defaults included."""

    name: str
    values: Mapping[str, Any]


def rollout_knobs(choice: Choice) -> RolloutKnobs:
    """As the engine would get them."""
    engine = configured(as_knobs(choice), ROLLOUT_ENGINES, "rollout")
    knobs = {knob.name: knob.default for knob in signature(engine).parameters.values()}
    return RolloutKnobs(choice.name, knobs)


def engine_memory(
    rollout: RolloutKnobs, architecture: Architecture, longest_row: int, megatron: MegatronConfig
) -> tuple[EngineMemory, str]:
    """What the engine takes when its cache is full of rows of the longest kind, and what can't be said.

    Each rank's engine has the whole model. Engines without `max_batch_sequences`, or with another `dtype`, have no
    model of ours, or one that only they know.
    """
    name, knobs = rollout
    size = BYTES.get(knobs.get("dtype", "fp32"))
    if "max_batch_sequences" not in knobs or size is None:
        return EngineMemory(), f"what the rollout engine {name} needs"
    weights = architecture.parameter_count * size
    of_a_token = 2 * architecture.num_layers * architecture.kv_size * size
    if "kv_cache_fraction" not in knobs:
        return EngineMemory(weights, knobs["max_batch_sequences"] * longest_row * of_a_token), ""
    if knobs.get("kv_cache_tokens"):
        return EngineMemory(weights, knobs["kv_cache_tokens"] * of_a_token), ""
    share = f"{knobs['kv_cache_fraction']:.0%} of what is free when the rollout engine starts"
    at_most = f", at most {CHIPS[megatron.chip].usable_bytes / 2**30:,.0f} GiB" if megatron.chip else ""
    return EngineMemory(weights), f"{share}, for its cache{at_most}"
