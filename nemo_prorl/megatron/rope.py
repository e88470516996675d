"""Rotary positions as Megatron's GPTModel is told of them."""

from __future__ import annotations

from typing import Any

from nemo_prorl.weights.architecture import Architecture


def rope_settings(architecture: Architecture, transformer_config: Any) -> dict[str, Any]:
    """Arguments of GPTModel; yarn's are read from the config, where they are put as attributes."""
    scaling = architecture.rope_scaling
    plain = {"position_embedding_type": "rope", "rotary_base": architecture.rope_theta}
    if scaling is None:
        return plain
    if scaling["rope_type"] == "linear":
        return plain | {"seq_len_interpolation_factor": scaling["factor"]}
    if scaling["rope_type"] == "llama3":
        return plain | {"rope_scaling": True, "rope_scaling_factor": scaling["factor"]}
    for name, value in yarn_settings(scaling).items():
        setattr(transformer_config, name, value)
    return plain | {"position_embedding_type": "yarn"}


def yarn_settings(scaling: Any) -> dict[str, Any]:
    """What Megatron calls the settings of yarn."""
    return {
        "yarn_rotary_scaling_factor": scaling["factor"],
        "yarn_original_max_position_embeddings": scaling["original_max_position_embeddings"],
        "yarn_beta_fast": scaling["beta_fast"],
        "yarn_beta_slow": scaling["beta_slow"],
        "yarn_mscale": scaling.get("mscale"),
        "yarn_mscale_all_dim": scaling.get("mscale_all_dim"),
        "yarn_correction_range_round_to_int": scaling["truncate"],
    }
