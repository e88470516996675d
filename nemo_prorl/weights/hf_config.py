"""The config.json of an architecture: for a model that comes from where there is none.

Rotary positions stand under the keys of transformers 4 (`rope_theta`, `rope_scaling`), which 5 and the inference
engines read too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemo_prorl.weights.architecture import DTYPES, MODEL_CLASSES, Architecture


def hf_config_of(architecture: Architecture, tokens: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A config that `Architecture.from_hf_config` reads back as `architecture`.

    `tokens`: ids that a config names (bos_token_id, eos_token_id, pad_token_id), where they are known.
    """
    scaling = architecture.rope_scaling
    config: dict[str, Any] = {
        "architectures": [name for name, family in MODEL_CLASSES.items() if family == architecture.family],
        "model_type": architecture.family,
        "hidden_act": "silu",
        "hidden_size": architecture.hidden_size,
        "intermediate_size": architecture.ffn_size,
        "num_hidden_layers": architecture.num_layers,
        "num_attention_heads": architecture.num_heads,
        "num_key_value_heads": architecture.num_kv_heads,
        "vocab_size": architecture.vocab_size,
        "max_position_embeddings": architecture.max_positions,
        "rms_norm_eps": architecture.rms_norm_eps,
        "rope_theta": architecture.rope_theta,
        "rope_scaling": dict(scaling) if scaling else None,
        "tie_word_embeddings": architecture.tied_embeddings,
        "attention_dropout": 0.0,
        "initializer_range": 0.02,
        "use_cache": True,
        "torch_dtype": next(name for name, known in DTYPES.items() if known == architecture.dtype),
    }
    if architecture.family != "qwen2" or architecture.query_size != architecture.hidden_size:
        config["head_dim"] = architecture.head_dim  # Qwen2's configs don't have it
    if architecture.family in ("qwen2", "qwen3"):
        config["use_sliding_window"] = False
    if architecture.family in ("qwen3", "llama"):
        config["attention_bias"] = False
    if architecture.family == "llama":
        config["mlp_bias"] = False
    return config | dict(tokens or {})


def generation_config_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """The generation_config.json of a model that has none: the ids that its config names, nothing on sampling."""
    ids = ("bos_token_id", "eos_token_id", "pad_token_id")
    named = {key: config[key] for key in ids if key in config and config[key] is not None}
    return {"_from_model_config": True} | named
