"""Rotary positions: which variants we train exactly.

    default    theta^(-2i / D)
    linear     every frequency divided by `factor`
    llama3     long wavelengths divided by `factor`, short ones kept, a ramp between them (Llama 3.1)
    yarn       the same idea with another ramp, and queries and keys scaled (https://arxiv.org/abs/2309.00071)
    dynamic    changes beyond max_position_embeddings only, which no run of ours goes: trained as default

Others (longrope, proportional, ...) have no counterpart in Megatron and are refused by name.
Nothing here imports torch.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

RopeScaling = Mapping[str, Any]

# Megatron's GPTModel takes the factor alone; these three stand as constants in its RotaryEmbedding._apply_scaling.
LLAMA3_CONSTANTS = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192.0}
YARN_BETAS = {"beta_fast": 32.0, "beta_slow": 1.0}
KINDS = ("default", "linear", "dynamic", "llama3", "yarn")


def read_rope_scaling(
    rope: Mapping[str, Any], max_positions: int, problem: Callable[[str], None]
) -> RopeScaling | None:
    """The scaling that a config's entries describe, with every default filled in; None for plain positions.

    What can't be trained goes to `problem`.
    """
    kind = rope.get("rope_type") or rope.get("type") or "default"
    if kind not in KINDS:
        problem(
            f"rope type {kind!r} is not supported, only {', '.join(map(repr, KINDS))}; a model that has it for long "
            "contexts alone can be trained below them: remove the entry in a copy of the folder"
        )
    if kind not in ("linear", "llama3", "yarn"):
        return None
    scaling: dict[str, Any] = {"rope_type": kind, "factor": _number(rope, "factor", None, problem)}
    if kind == "llama3":
        scaling |= {key: _number(rope, key, None, problem) for key in LLAMA3_CONSTANTS}
        if any(scaling[key] != value for key, value in LLAMA3_CONSTANTS.items()):
            problem(f"llama3 rope {scaling} differs from {LLAMA3_CONSTANTS}, all that Megatron knows")
    if kind == "yarn":
        scaling["original_max_position_embeddings"] = _number(
            rope, "original_max_position_embeddings", max_positions, problem
        )
        scaling |= {key: _number(rope, key, default, problem) for key, default in YARN_BETAS.items()}
        scaling["truncate"] = bool(rope.get("truncate", True))
        scaling |= {key: _number(rope, key, None, problem) for key in ("mscale", "mscale_all_dim") if rope.get(key)}
        own = _number(rope, "attention_factor", attention_factor(scaling), problem)
        if not math.isclose(own, attention_factor(scaling)):
            problem(f"yarn's attention_factor is {own!r}, Megatron knows only {attention_factor(scaling)!r} for it")
    return scaling


def attention_factor(scaling: RopeScaling | None) -> float:
    """What cosines and sines are multiplied with: 0.1 ln(factor) + 1 for yarn, else 1."""
    if scaling is None or scaling["rope_type"] != "yarn" or scaling["factor"] <= 1:
        return 1.0
    log = math.log(scaling["factor"])
    if "mscale" in scaling and "mscale_all_dim" in scaling:
        return float((0.1 * scaling["mscale"] * log + 1) / (0.1 * scaling["mscale_all_dim"] * log + 1))
    return 0.1 * log + 1


def _number(rope: Mapping[str, Any], key: str, default: float | None, problem: Callable[[str], None]) -> float:
    found = rope.get(key)
    found = default if found is None else found
    if not isinstance(found, (int, float)) or isinstance(found, bool) or not found > 0:
        problem(f"{key} is {found!r}, expected a number above 0")
        return 1.0
    return float(found)
