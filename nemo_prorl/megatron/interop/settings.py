"""An architecture in the words of Megatron's family, there and back.

Megatron-LM keeps its command line's arguments in common.pt, Megatron-Bridge a run_config.yaml, NeMo 2 a model.yaml. The
last two name the fields of Megatron Core's TransformerConfig and GPTModel; Megatron-LM has names of its own for some.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron.interop.plain_pickle import Stranger
from nemo_prorl.megatron.rope import yarn_settings
from nemo_prorl.weights.architecture import MODEL_CLASSES, Architecture, Dtype
from nemo_prorl.weights.safetensors_file import TORCH_DTYPES

DTYPE_NAMES: dict[str, str] = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}

# Settings that have to be so, because no model of ours has anything else: {name: what it may be}.
_PLAIN: dict[str, tuple[Any, ...]] = {
    "normalization": ("RMSNorm",),
    "gated_linear_unit": (True,),
    "add_bias_linear": (False,),
    "layernorm_zero_centered_gamma": (False, None),
    "rotary_interleaved": (False, None),
    "rotary_percent": (1.0, None),
    "multi_latent_attention": (False, None),
    "num_moe_experts": (None, 0),
    "window_size": (None,),
    "mtp_num_layers": (None, 0),
    "position_embedding_type": ("rope", "yarn"),
}


def architecture_of(settings: Mapping[str, Any], where: str, *, dtype: Dtype, padded_vocab: int) -> Architecture:
    """The architecture that fields of TransformerConfig and GPTModel describe; `where` they stand, for messages.

    `dtype` and `padded_vocab` are those of the stored embeddings; where no vocabulary size stands it is taken for the
    padded one.

    Raises:
        CheckpointError: the model is not one that we know; every reason is listed.
    """
    wrong = [
        f"{name} is {settings[name]!r}, expected {' or '.join(map(repr, allowed))}"
        for name, allowed in _PLAIN.items()
        if name in settings and settings[name] not in allowed
    ]
    wrong += [
        f"{name} is missing"
        for name in ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads")
        if not settings.get(name)
    ]
    qk_norm, qkv_bias = bool(settings.get("qk_layernorm")), bool(settings.get("add_qkv_bias"))
    if qk_norm and qkv_bias:
        wrong.append("both add_qkv_bias and qk_layernorm are true, which no supported model has")
    if wrong:
        raise CheckpointError(
            f"{where} describes a model that can't be used: {'; '.join(wrong)}. Supported are "
            f"{', '.join(MODEL_CLASSES)}."
        )
    family = "qwen3" if qk_norm else "qwen2" if qkv_bias else "llama"
    return Architecture.from_hf_config(_hf_config(settings, family, dtype, padded_vocab), where)


def _hf_config(settings: Mapping[str, Any], family: str, dtype: Dtype, padded_vocab: int) -> dict[str, Any]:
    heads = settings["num_attention_heads"]
    return {
        "model_type": family,
        "num_hidden_layers": settings["num_layers"],
        "hidden_size": settings["hidden_size"],
        "intermediate_size": settings["ffn_hidden_size"],
        "num_attention_heads": heads,
        "num_key_value_heads": settings.get("num_query_groups") or heads,
        "head_dim": settings.get("kv_channels") or settings["hidden_size"] // heads,
        "vocab_size": settings.get("vocab_size") or padded_vocab,
        "max_position_embeddings": settings.get("max_position_embeddings") or settings.get("seq_length") or 4096,
        "rms_norm_eps": settings.get("layernorm_epsilon", 1e-5),
        "rope_theta": float(settings.get("rotary_base", 10_000)),
        "rope_scaling": _rope_scaling(settings),
        "tie_word_embeddings": bool(settings.get("share_embeddings_and_output_weights")),
        "dtype": DTYPE_NAMES[dtype],
    }


def _rope_scaling(settings: Mapping[str, Any]) -> dict[str, Any] | None:
    if settings.get("position_embedding_type") == "yarn":
        return {"rope_type": "yarn"} | {
            ours: settings[theirs]
            for ours, theirs in {
                "factor": "yarn_rotary_scaling_factor",
                "original_max_position_embeddings": "yarn_original_max_position_embeddings",
                "beta_fast": "yarn_beta_fast",
                "beta_slow": "yarn_beta_slow",
                "mscale": "yarn_mscale",
                "mscale_all_dim": "yarn_mscale_all_dim",
                "truncate": "yarn_correction_range_round_to_int",
            }.items()
            if settings.get(theirs) is not None
        }
    if settings.get("seq_len_interpolation_factor"):
        return {"rope_type": "linear", "factor": float(settings["seq_len_interpolation_factor"])}
    factor = settings.get("scale_factor") or (settings.get("rope_scaling") and settings.get("rope_scaling_factor"))
    if not factor:
        return None
    return {
        "rope_type": "llama3",
        "factor": float(factor),
        "low_freq_factor": settings.get("low_freq_factor", 1.0),
        "high_freq_factor": settings.get("high_freq_factor", 4.0),
        "original_max_position_embeddings": settings.get("old_context_len", 8192),
    }


def settings_of(architecture: Architecture) -> dict[str, Any]:
    """The same model as fields of TransformerConfig and GPTModel; plain values only."""
    scaling = architecture.rope_scaling
    kind = scaling["rope_type"] if scaling else None
    settings: dict[str, Any] = {
        "num_layers": architecture.num_layers,
        "hidden_size": architecture.hidden_size,
        "ffn_hidden_size": architecture.ffn_size,
        "num_attention_heads": architecture.num_heads,
        "num_query_groups": architecture.num_kv_heads,
        "kv_channels": architecture.head_dim,
        "vocab_size": architecture.vocab_size,
        "seq_length": architecture.max_positions,
        "layernorm_epsilon": architecture.rms_norm_eps,
        "share_embeddings_and_output_weights": architecture.tied_embeddings,
        "add_qkv_bias": architecture.qkv_bias,
        "qk_layernorm": architecture.qk_norm,
        "position_embedding_type": "yarn" if kind == "yarn" else "rope",
        "rotary_base": architecture.rope_theta,
        "rotary_percent": 1.0,
        "normalization": "RMSNorm",
        "gated_linear_unit": True,
        "add_bias_linear": False,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "bf16": architecture.dtype == "bf16",
        "fp16": architecture.dtype == "fp16",
    }
    if kind == "linear":
        settings["seq_len_interpolation_factor"] = scaling["factor"] if scaling else None
    if kind == "llama3" and scaling:
        settings |= {"rope_scaling": True, "rope_scaling_factor": scaling["factor"]}
    return settings | (yarn_settings(scaling) if kind == "yarn" else {})


# -- Megatron-LM's names -----------------------------------------------------------------------------------------------

_ARGUMENTS = {  # TransformerConfig's name: Megatron-LM's
    "layernorm_epsilon": "norm_epsilon",
    "gated_linear_unit": "swiglu",
    "num_moe_experts": "num_experts",
    "rope_scaling": "use_rope_scaling",
    "layernorm_zero_centered_gamma": "apply_layernorm_1p",
    "seq_len_interpolation_factor": "rotary_seq_len_interpolation_factor",
}


def settings_of_arguments(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Megatron-LM's arguments under TransformerConfig's names."""
    renamed = {theirs: ours for ours, theirs in _ARGUMENTS.items()}
    settings = {renamed.get(name, name): value for name, value in arguments.items() if not isinstance(value, Stranger)}
    settings["share_embeddings_and_output_weights"] = not arguments.get("untie_embeddings_and_output_weights", False)
    if not arguments.get("group_query_attention", True):
        settings["num_query_groups"] = None
    return settings


def arguments_of(architecture: Architecture, padded_vocab: int) -> dict[str, Any]:
    """What Megatron-LM would have been started with, as far as its and Megatron-Bridge's loaders ask."""
    settings = settings_of(architecture)
    arguments = {_ARGUMENTS.get(name, name): value for name, value in settings.items()}
    del arguments["share_embeddings_and_output_weights"]
    return (
        _DEFAULT_ARGUMENTS
        | arguments
        | {
            "untie_embeddings_and_output_weights": not architecture.tied_embeddings,
            "group_query_attention": True,
            "padded_vocab_size": padded_vocab,
            "make_vocab_size_divisible_by": 128,
            "max_position_embeddings": architecture.max_positions,
            "params_dtype": TORCH_DTYPES[architecture.dtype],
            "use_rope_scaling": settings.get("rope_scaling", False),
        }
    )


_DEFAULT_ARGUMENTS: dict[str, Any] = {
    **{
        name: False
        for name in (
            "add_position_embedding",
            "apply_layernorm_1p",
            "bias_gelu_fusion",
            "ckpt_fully_parallel_save",
            "fp16_lm_cross_entropy",
            "fp8_param_gather",
            "init_method_xavier_uniform",
            "is_hybrid_model",
            "moe_grouped_gemm",
            "moe_use_legacy_grouped_gemm",
            "multi_latent_attention",
            "no_persist_layer_norm",
            "overlap_p2p_comm",
            "qk_l2_norm",
            "rotary_interleaved",
            "sequence_parallel",
            "squared_relu",
            "use_distributed_optimizer",
        )
    },
    **{
        name: None
        for name in (
            "decoder_first_pipeline_num_layers",
            "decoder_last_pipeline_num_layers",
            "heterogeneous_layers_config_path",
            "mtp_num_layers",
            "num_experts",
            "spec",
            "virtual_pipeline_model_parallel_size",
            "vocab_file",
        )
    },
    "bias_swiglu_fusion": True,
    "ckpt_format": "torch_dist",
    "config_logger_dir": "",
    "consumed_train_samples": 0,
    "consumed_valid_samples": 0,
    "context_parallel_size": 1,
    "cp_comm_type": ["p2p"],
    "no_save_optim": True,
    "no_save_rng": True,
    "pipeline_model_parallel_size": 1,
    "skipped_train_samples": 0,
    "tensor_model_parallel_size": 1,
    "tokenizer_type": "HuggingFaceTokenizer",
    "tokenizer_model": None,
    "transformer_impl": "transformer_engine",
}


def dtype_of(stored: torch.dtype) -> Dtype:
    """Ours for torch's.

    Raises:
        CheckpointError: the weights are stored in something else.
    """
    for name, dtype in TORCH_DTYPES.items():
        if dtype == stored:
            return name
    raise CheckpointError(f"weights in {stored} can't be read; supported are {', '.join(TORCH_DTYPES)}")
