import json

import pytest
from transformers import AutoConfig, AutoModelForCausalLM

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.architecture import Architecture, read_hf_config

QWEN25_1P5B = {  # as published, before transformers 5
    "architectures": ["Qwen2ForCausalLM"],
    "attention_dropout": 0.0,
    "bos_token_id": 151643,
    "eos_token_id": 151643,
    "hidden_act": "silu",
    "hidden_size": 1536,
    "initializer_range": 0.02,
    "intermediate_size": 8960,
    "max_position_embeddings": 131072,
    "max_window_layers": 28,
    "model_type": "qwen2",
    "num_attention_heads": 12,
    "num_hidden_layers": 28,
    "num_key_value_heads": 2,
    "rms_norm_eps": 1e-06,
    "rope_theta": 1000000.0,
    "sliding_window": 131072,
    "tie_word_embeddings": True,
    "torch_dtype": "bfloat16",
    "use_sliding_window": False,
    "vocab_size": 151936,
}
R1_DISTILL_1P5B = QWEN25_1P5B | {  # with all its peculiarities: no sliding, a base of its own, ids of another tokenizer
    "max_window_layers": 21,
    "rope_theta": 10000,
    "sliding_window": 4096,
    "tie_word_embeddings": False,
    "use_mrope": False,
}
QWEN3_0P6B = QWEN25_1P5B | {
    "architectures": ["Qwen3ForCausalLM"],
    "model_type": "qwen3",
    "attention_bias": False,
    "head_dim": 128,
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "sliding_window": None,
}
LLAMA31_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "attention_bias": False,
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "max_position_embeddings": 131072,
    "mlp_bias": False,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "rope_theta": 500000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "vocab_size": 128256,
}


def read(config, **changes):
    return Architecture.from_hf_config(config | changes, "config.json")


def test_every_family_is_read_as_transformers_means_it(model_folder):
    architecture, config = Architecture.read(model_folder), AutoConfig.from_pretrained(model_folder)
    assert architecture.family == config.model_type
    assert architecture.num_layers == config.num_hidden_layers
    assert (architecture.num_heads, architecture.num_kv_heads) == (8, 4)
    assert architecture.head_dim == 4
    assert architecture.rope_theta == config.rope_parameters["rope_theta"]
    assert architecture.tied_embeddings == config.tie_word_embeddings
    assert architecture.dtype == "fp32"


def test_the_parameter_count_is_that_of_transformers(model_folder):
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    assert Architecture.read(model_folder).parameter_count == model.num_parameters()


@pytest.mark.parametrize(
    ("config", "count"),
    [
        (QWEN25_1P5B, 1_543_714_304),
        (R1_DISTILL_1P5B, 1_777_088_000),
        (QWEN3_0P6B, 596_049_920),
        (LLAMA31_8B, 8_030_261_248),
    ],
    ids=["qwen2.5-1.5b", "r1-distill-1.5b", "qwen3-0.6b", "llama3.1-8b"],
)
def test_published_models_have_their_published_size(config, count):
    assert read(config).parameter_count == count


def test_old_and_new_configs_of_one_model_are_read_alike():
    new = {key: value for key, value in LLAMA31_8B.items() if key not in ("rope_theta", "rope_scaling", "torch_dtype")}
    new |= {"rope_parameters": LLAMA31_8B["rope_scaling"] | {"rope_theta": 500000.0}, "dtype": "bfloat16"}
    assert read(new) == read(LLAMA31_8B)
    assert read(new).rope_scaling["factor"] == 8.0
    assert read(new).rope_theta == 500000.0


def test_what_a_config_leaves_out_has_the_value_transformers_gives_it():
    """Keys that old configs lack; head_dim is hidden / heads = 1536 / 12 = 128, and for Qwen3 128 at any width."""
    left_out = ("rope_theta", "tie_word_embeddings", "rms_norm_eps", "hidden_act", "torch_dtype", "num_key_value_heads")
    architecture = read({key: value for key, value in QWEN25_1P5B.items() if key not in left_out})
    assert architecture.rope_theta == 10_000.0
    assert not architecture.tied_embeddings
    assert (architecture.head_dim, architecture.num_kv_heads) == (128, 12)
    assert architecture.dtype == "fp32"
    assert read({key: value for key, value in QWEN3_0P6B.items() if key != "head_dim"}).head_dim == 128


@pytest.mark.parametrize(
    "changes",
    [
        {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 28},
        {"use_sliding_window": True, "sliding_window": 131072, "max_window_layers": 0},
        {"use_sliding_window": True, "sliding_window": None},
        {"use_sliding_window": True, "sliding_window": 4096, "layer_types": ["full_attention"] * 28},
        {"rope_scaling": None},
        {"rope_scaling": {"type": "default"}},
        {"rope_scaling": {"type": "dynamic", "factor": 4.0}},  # it begins where max_position_embeddings ends
    ],
)
def test_settings_without_effect_are_accepted(changes):
    assert read(QWEN25_1P5B, **changes) == read(QWEN25_1P5B)


@pytest.mark.parametrize(
    ("config", "changes", "message"),
    [
        (QWEN25_1P5B, {"use_sliding_window": True, "sliding_window": 4096, "max_window_layers": 21}, "sliding"),
        (QWEN25_1P5B, {"use_sliding_window": True, "sliding_window": 8, "layer_types": ["sliding_attention"]}, "slid"),
        (QWEN25_1P5B, {"rope_scaling": {"type": "longrope", "factor": 4.0}}, "'longrope' is not supported"),
        (QWEN25_1P5B, {"rope_scaling": {"type": "yarn"}}, "factor is None, expected a number above 0"),
        (
            QWEN25_1P5B,
            {"rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": 2}},
            "attention_factor is 2",
        ),
        (
            QWEN25_1P5B,
            {"rope_scaling": {"type": "yarn", "factor": 4.0, "attention_factor": "auto", "mscale": "one"}},
            "mscale is 'one', expected a number above 0; attention_factor is 'auto', expected a number above 0",
        ),
        (QWEN25_1P5B, {"rope_parameters": {"rope_type": "linear", "factor": -1}}, "factor is -1, expected a number"),
        (QWEN25_1P5B, {"use_mrope": True}, "use_mrope is true"),
        (LLAMA31_8B, {"rope_scaling": LLAMA31_8B["rope_scaling"] | {"low_freq_factor": 2.0}}, "low_freq_factor"),
        (LLAMA31_8B, {"attention_bias": True}, "attention_bias is true"),
        (LLAMA31_8B, {"mlp_bias": True}, "mlp_bias is true"),
        (LLAMA31_8B, {"num_key_value_heads": 7}, "not a multiple"),
        (LLAMA31_8B, {"partial_rotary_factor": 0.5}, "partial_rotary_factor"),
        (LLAMA31_8B, {"hidden_act": "gelu"}, "hidden_act is 'gelu'"),
        (LLAMA31_8B, {"hidden_size": "wide"}, "hidden_size is 'wide', expected an integer above 0"),
        (LLAMA31_8B, {"num_hidden_layers": 0}, "num_hidden_layers is 0"),
        (LLAMA31_8B, {"rms_norm_eps": True}, "rms_norm_eps is True"),
        (LLAMA31_8B, {"torch_dtype": "float8_e4m3fn"}, "dtype is 'float8_e4m3fn', supported are float32"),
        (LLAMA31_8B, {"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
        (LLAMA31_8B, {"architectures": ["Qwen2ForSequenceClassification"]}, "Supported are Qwen2ForCausalLM"),
        ({"model_type": "gpt2"}, {}, "model_type 'gpt2' is not supported"),
    ],
)
def test_a_model_that_would_be_computed_differently_is_refused(config, changes, message):
    with pytest.raises(WeightsError, match=message):
        read(config, **changes)


def test_all_reasons_are_given_at_once():
    with pytest.raises(WeightsError) as caught:
        read({"architectures": ["LlamaForCausalLM"], "hidden_act": "gelu", "mlp_bias": True})
    for reason in ("hidden_size is None", "vocab_size is None", "'gelu'", "mlp_bias", "config.json describes"):
        assert reason in str(caught.value)


def test_a_missing_folder_is_named_with_advice(tmp_path):
    with pytest.raises(WeightsError, match=r"no-model is not a folder.*hf download"):
        Architecture.read(tmp_path / "no-model")


def test_a_folder_without_a_config_is_named_with_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").touch()
    with pytest.raises(WeightsError, match=r"config\.json is missing; .* holds notes\.txt"):
        Architecture.read(tmp_path)


@pytest.mark.parametrize("text", ["{", json.dumps([1]), ""])
def test_a_config_that_is_no_json_object_is_named(tmp_path, text):
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(WeightsError, match=r"config\.json .* download the model again"):
        read_hf_config(tmp_path)


def test_the_vocabulary_is_rounded_up():
    """151936 = 1187 x 128 stays; the next multiple of 1000 is 152000."""
    assert read(QWEN25_1P5B).padded_vocab(128) == 151936
    assert read(QWEN25_1P5B).padded_vocab(1000) == 152000
