import pytest
from transformers import AutoConfig

from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.hf_config import generation_config_of, hf_config_of
from tests.weights.test_architecture import LLAMA31_8B, QWEN3_0P6B, QWEN25_1P5B, R1_DISTILL_1P5B

YARN = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}


@pytest.mark.parametrize(
    "config",
    [QWEN25_1P5B, R1_DISTILL_1P5B, QWEN3_0P6B, LLAMA31_8B, QWEN25_1P5B | {"rope_scaling": YARN}],
    ids=["qwen2.5", "r1-distill", "qwen3", "llama3.1", "qwen2.5-yarn"],
)
def test_a_config_made_of_an_architecture_says_the_same(config, tmp_path):
    architecture = Architecture.from_hf_config(config, "config.json")
    assert Architecture.from_hf_config(hf_config_of(architecture), "made") == architecture


def test_transformers_reads_it_as_the_same_model(model_folder, tmp_path):
    architecture = Architecture.read(model_folder)
    made = AutoConfig.for_model(**hf_config_of(architecture, {"eos_token_id": 7}))
    original = AutoConfig.from_pretrained(model_folder)
    for key in ("hidden_size", "head_dim", "num_key_value_heads", "rms_norm_eps", "rope_parameters", "vocab_size"):
        assert getattr(made, key, None) == getattr(original, key, None), key
    assert made.tie_word_embeddings == original.tie_word_embeddings
    assert made.eos_token_id == 7


def test_a_generation_config_names_the_ids_and_nothing_about_sampling():
    config = {"bos_token_id": 1, "eos_token_id": [2, 3], "pad_token_id": None, "hidden_size": 8}
    assert generation_config_of(config) == {"_from_model_config": True, "bos_token_id": 1, "eos_token_id": [2, 3]}
