"""Rotary positions against transformers' own formulas."""

import math

import pytest
import torch
from transformers import LlamaConfig
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

from nemo_prorl.weights.rope import attention_factor, read_rope_scaling
from nemo_prorl.weights.rotary_frequencies import rotary_frequencies

LLAMA3 = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
VARIANTS = [
    {"rope_type": "linear", "factor": 2.5},
    {"rope_type": "llama3", "factor": 8.0, **LLAMA3},
    {"rope_type": "llama3", "factor": 32.0, **LLAMA3},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768},
    {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768, "truncate": False},
    {"rope_type": "yarn", "factor": 8.0, "original_max_position_embeddings": 4096, "beta_fast": 16.0, "beta_slow": 2.0},
    {
        "rope_type": "yarn",
        "factor": 40.0,
        "original_max_position_embeddings": 4096,
        "mscale": 1.0,
        "mscale_all_dim": 0.8,
    },
]


def read(rope, max_positions=131072):
    problems = []
    scaling = read_rope_scaling(rope, max_positions, problems.append)
    assert not problems
    return scaling


@pytest.mark.parametrize("theta", [10_000.0, 1_000_000.0])
@pytest.mark.parametrize("rope", VARIANTS, ids=lambda rope: f"{rope['rope_type']}-{rope['factor']}")
def test_frequencies_are_those_of_transformers(rope, theta):
    config = LlamaConfig(
        hidden_size=256,
        num_attention_heads=2,
        max_position_embeddings=131072,
        rope_parameters=rope | {"rope_theta": theta},
    )
    expected, factor = ROPE_INIT_FUNCTIONS[rope["rope_type"]](config, torch.device("cpu"))
    scaling = read(rope)
    torch.testing.assert_close(rotary_frequencies(128, theta, scaling), expected, rtol=1e-6, atol=0)
    assert attention_factor(scaling) == pytest.approx(factor)


def test_plain_frequencies_by_hand():
    """Base 100 and a head of 4: 100^0 = 1 and 100^(-2/4) = 0.1; a linear factor of 2 halves them."""
    assert rotary_frequencies(4, 100.0, None).tolist() == pytest.approx([1.0, 0.1])
    assert rotary_frequencies(4, 100.0, read({"type": "linear", "factor": 2})).tolist() == pytest.approx([0.5, 0.05])


def test_yarn_scales_attention_by_its_factors_logarithm():
    """0.1 ln 4 + 1 = 1.1386."""
    assert attention_factor(read({"type": "yarn", "factor": 4.0})) == pytest.approx(0.1 * math.log(4) + 1)


def test_dynamic_scaling_and_no_scaling_are_plain():
    assert read({"rope_type": "dynamic", "factor": 4.0}) is None
    assert read({}) is None


def test_yarn_without_an_original_context_takes_the_models():
    assert read({"type": "yarn", "factor": 2.0}, max_positions=4096)["original_max_position_embeddings"] == 4096
