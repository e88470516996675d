"""Architectures in Megatron's words, there and back."""

from dataclasses import replace

import pytest
import torch
import yaml

from nemo_prorl.errors import CheckpointError, WeightsError
from nemo_prorl.megatron.interop.neighbours import run_config_of
from nemo_prorl.megatron.interop.settings import (
    architecture_of,
    arguments_of,
    dtype_of,
    settings_of,
    settings_of_arguments,
)
from nemo_prorl.weights.architecture import Architecture
from tests.weights.test_architecture import LLAMA31_8B, QWEN3_0P6B, QWEN25_1P5B, R1_DISTILL_1P5B

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
CONFIGS = {
    "qwen2.5": QWEN25_1P5B,
    "r1-distill": R1_DISTILL_1P5B,
    "qwen3": QWEN3_0P6B,
    "llama3.1": LLAMA31_8B,
    "yarn": QWEN25_1P5B | {"rope_scaling": YARN},
    "linear": LLAMA31_8B | {"rope_scaling": {"rope_type": "linear", "factor": 2.0}},
}
PLAIN = settings_of(Architecture.from_hf_config(QWEN25_1P5B, "config.json"))


@pytest.fixture(params=CONFIGS)
def architecture(request):
    return Architecture.from_hf_config(CONFIGS[request.param], "config.json")


def test_a_run_config_says_the_same_model(architecture):
    """Through YAML, as Megatron-Bridge keeps it."""
    settings = yaml.safe_load(yaml.safe_dump(run_config_of(architecture, 152064)))["model"]
    assert architecture_of(settings, "run_config.yaml", dtype="bf16", padded_vocab=152064) == architecture


def test_megatron_lms_arguments_say_the_same_model(architecture):
    settings = settings_of_arguments(arguments_of(architecture, 152064))
    assert architecture_of(settings, "args", dtype="bf16", padded_vocab=152064) == architecture


def test_without_a_vocabulary_size_it_is_the_padded_one():
    """Megatron-LM leaves it to the tokenizer."""
    settings = {key: value for key, value in PLAIN.items() if key != "vocab_size"}
    assert architecture_of(settings, "args", dtype="fp32", padded_vocab=152064).vocab_size == 152064


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_moe_experts": 8}, "num_moe_experts is 8, expected None or 0"),
        ({"multi_latent_attention": True}, "multi_latent_attention is True"),
        ({"normalization": "LayerNorm"}, "normalization is 'LayerNorm', expected 'RMSNorm'"),
        ({"gated_linear_unit": False}, "gated_linear_unit is False"),
        ({"add_bias_linear": True}, "add_bias_linear is True"),
        ({"position_embedding_type": "learned_absolute"}, "position_embedding_type is 'learned_absolute'"),
        ({"window_size": [4096, 0]}, "window_size"),
        ({"qk_layernorm": True}, "both add_qkv_bias and qk_layernorm"),
        ({"num_layers": None}, "num_layers is missing"),
    ],
)
def test_what_is_no_model_of_ours_is_refused_by_name(changes, reason):
    with pytest.raises(CheckpointError, match=rf"(?s)here describes a model.*{reason}.*Supported are Qwen2ForCausalLM"):
        architecture_of(PLAIN | changes, "here", dtype="fp32", padded_vocab=152064)


def test_all_reasons_are_given_at_once():
    with pytest.raises(CheckpointError) as caught:
        architecture_of(
            PLAIN | {"num_moe_experts": 8, "add_bias_linear": True}, "here", dtype="fp32", padded_vocab=152064
        )
    assert "num_moe_experts" in str(caught.value)
    assert "add_bias_linear" in str(caught.value)


def test_other_constants_of_llama3_are_refused():
    settings = settings_of(Architecture.from_hf_config(LLAMA31_8B, "config.json")) | {"high_freq_factor": 8.0}
    with pytest.raises(WeightsError, match="high_freq_factor"):
        architecture_of(settings, "here", dtype="bf16", padded_vocab=128256)


def test_dtypes_have_our_names():
    assert [dtype_of(dtype) for dtype in (torch.float32, torch.bfloat16, torch.float16)] == ["fp32", "bf16", "fp16"]
    with pytest.raises(CheckpointError, match=r"torch\.float8_e4m3fn can't be read"):
        dtype_of(torch.float8_e4m3fn)


def test_the_dtype_is_that_of_the_stored_weights(architecture):
    found = architecture_of(settings_of(architecture), "here", dtype="fp32", padded_vocab=152064)
    assert found == replace(architecture, dtype="fp32")
