import pytest
import torch
from transformers import AutoModelForCausalLM

from nemo_prorl.weights.architecture import MODEL_CLASSES, Architecture
from nemo_prorl.weights.families import FAMILIES, weight_map
from nemo_prorl.weights.hf_folder import TensorReader
from nemo_prorl.weights.mapping import hf_parts


def test_every_model_class_has_a_table():
    assert set(MODEL_CLASSES.values()) == set(FAMILIES)


def test_the_tables_name_every_tensor_of_transformers_once(model_folder):
    architecture = Architecture.read(model_folder)
    model = AutoModelForCausalLM.from_pretrained(model_folder)
    expected = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    parts = list(hf_parts(weight_map(architecture)))
    assert dict(parts) == expected
    assert len(parts) == len(expected)


@pytest.mark.parametrize("tp_size", [1, 2, 4])
def test_a_whole_model_goes_there_and_back_bitwise(model_folder, tp_size):
    architecture = Architecture.read(model_folder)
    with TensorReader(model_folder) as reader:
        for name, operation in weight_map(architecture).items():
            tensors = [reader.get(hf_name) for hf_name in operation.hf_names]
            shards = [operation.to_megatron(tensors, rank, tp_size, 384) for rank in range(tp_size)]
            for before, after in zip(tensors, operation.to_hf(shards), strict=True):
                assert torch.equal(before, after), name


def test_megatron_names_are_those_of_the_local_layer_spec(model_folder):
    architecture = Architecture.read(model_folder)
    names = {name.removeprefix("decoder.layers.1.") for name in weight_map(architecture) if ".layers.0." not in name}
    family = {
        "qwen2": {"self_attention.linear_qkv.bias"},
        "qwen3": {"self_attention.q_layernorm.weight", "self_attention.k_layernorm.weight"},
        "llama": set(),
    }[architecture.family]
    assert names == family | {
        "embedding.word_embeddings.weight",
        "input_layernorm.weight",
        "self_attention.linear_qkv.weight",
        "self_attention.linear_proj.weight",
        "pre_mlp_layernorm.weight",
        "mlp.linear_fc1.weight",
        "mlp.linear_fc2.weight",
        "decoder.final_layernorm.weight",
        "output_layer.weight",
    }


def test_a_tied_output_layer_loads_the_embeddings_and_gives_nothing_back(model_folder):
    architecture = Architecture.read(model_folder)
    operation = weight_map(architecture)["output_layer.weight"]
    if architecture.tied_embeddings:
        assert operation.hf_names == ("model.embed_tokens.weight",)
        assert not operation.exported
    else:
        assert operation.hf_names == ("lm_head.weight",)
        assert operation.exported
