"""Rotary positions against Megatron's own, and whole models against transformers."""

import pytest
import torch
from megatron.core.models.common.embeddings import yarn_rotary_pos_embedding as yarn
from megatron.core.models.common.embeddings.rotary_pos_embedding import RotaryEmbedding

from nemo_prorl.commands.logit_check import largest_logprob_difference
from nemo_prorl.megatron.rope import rope_settings, yarn_settings
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.rope import attention_factor
from nemo_prorl.weights.rotary_frequencies import rotary_frequencies
from tests.tiny_models import tiny_hf_folder
from tests.weights.test_architecture import LLAMA31_8B

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 64}
LLAMA3 = LLAMA31_8B["rope_scaling"]


def architecture_with(**rope):
    return Architecture.from_hf_config(LLAMA31_8B | {"rope_scaling": rope or None}, "config.json")


@pytest.mark.parametrize(
    "rope", [{}, LLAMA3, {"rope_type": "linear", "factor": 4.0}], ids=["plain", "llama3", "linear"]
)
def test_frequencies_are_those_that_megatron_has_for_its_own_settings(rope):
    """What GPTModel is told with Transformer Engine makes it turn as our own attention does."""
    architecture = architecture_with(**rope)
    told = rope_settings(architecture, None)
    assert told.pop("position_embedding_type") == "rope"
    divided = told.pop("seq_len_interpolation_factor", 1.0)
    theirs = RotaryEmbedding(architecture.head_dim, rotary_percent=1.0, use_cpu_initialization=True, **told)
    ours = rotary_frequencies(architecture.head_dim, architecture.rope_theta, architecture.rope_scaling)
    torch.testing.assert_close(ours, theirs.inv_freq / divided, rtol=1e-6, atol=0)


def test_yarn_is_megatrons_too():
    architecture = architecture_with(**YARN)
    names = {name.removeprefix("yarn_"): value for name, value in yarn_settings(architecture.rope_scaling).items()}
    names["scaling_factor"] = names.pop("rotary_scaling_factor")
    config = type("Config", (), {})()
    assert rope_settings(architecture, config)["position_embedding_type"] == "yarn"
    assert vars(config) == yarn_settings(architecture.rope_scaling)
    ours = rotary_frequencies(architecture.head_dim, architecture.rope_theta, architecture.rope_scaling)
    torch.testing.assert_close(ours, _megatrons_yarn(architecture, names), rtol=1e-6, atol=0)


def _megatrons_yarn(architecture, names):
    """Frequencies as YarnRotaryEmbedding.get_emb computes them, which itself asks for a GPU."""
    dim, theta = architecture.head_dim, architecture.rope_theta
    low, high = yarn._yarn_find_correction_range(
        *(names["beta_fast"], names["beta_slow"], dim, theta, names["original_max_position_embeddings"]),
        names["correction_range_round_to_int"],
    )
    kept = 1 - yarn._yarn_linear_ramp_mask(low, high, dim // 2, device="cpu")
    plain = 1.0 / (theta ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim))
    factor = yarn._yarn_get_concentration_factor(names["scaling_factor"], names["mscale"], names["mscale_all_dim"])
    assert factor == pytest.approx(attention_factor(architecture.rope_scaling))
    return plain / names["scaling_factor"] * (1 - kept) + plain * kept


@pytest.mark.parametrize(
    ("family", "rope"),
    [
        ("qwen2", YARN),
        ("qwen3", {"rope_type": "linear", "factor": 2.0}),
        ("llama", {"rope_type": "dynamic", "factor": 2.0}),
        ("llama", LLAMA3),
    ],
    ids=["yarn", "linear", "dynamic", "llama3"],
)
def test_a_scaled_model_says_what_transformers_says(family, rope, tmp_path):
    folder = tiny_hf_folder(tmp_path / "model", family, tied=False, rope_parameters=rope | {"rope_theta": 10_000.0})
    assert largest_logprob_difference(folder, folder, through_transformers=True) < 1e-5
