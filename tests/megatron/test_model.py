"""The Megatron model computes what transformers computes, and gives back the weights it was given, in every layout."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families import weight_map
from tests.megatron import scenarios
from tests.processes import run_ranks
from tests.tiny_models import tiny_hf_folder

pytestmark = pytest.mark.processes

MODELS = {
    "qwen2-tied": {"family": "qwen2", "tied": True},
    "qwen2-untied": {"family": "qwen2", "tied": False, "vocabulary_size": 304},
    "qwen3-tied": {"family": "qwen3", "tied": True, "head_dim": 16},
    "qwen3-untied": {"family": "qwen3", "tied": False, "kv_heads": 4},
    "llama-untied": {"family": "llama", "tied": False, "heads": 8},
    "llama-tied": {
        "family": "llama",
        "tied": True,
        "rope_parameters": {
            "rope_type": "llama3",
            "rope_theta": 10_000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 8192,
        },
    },
}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Every model as a folder, with what transformers makes of the batch."""
    root = tmp_path_factory.mktemp("models")
    return [tiny_hf_folder(root / name, **settings) for name, settings in MODELS.items()]


@pytest.fixture(scope="module")
def expected_logits(folders):
    expected = []
    for folder in folders:
        model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        rows, _ = scenarios.batch(model.config.vocab_size)
        with torch.no_grad():
            expected.append(model(rows.tokens_BS).logits)
    return expected


@pytest.mark.parametrize(("tensor", "pipeline"), [(1, 1), (2, 1), (1, 2), (2, 2)])
def test_logits_and_exported_weights_are_those_of_transformers(folders, expected_logits, tensor, pipeline):
    """Right-padded rows under a causal mask: what stands after a row's end changes nothing before it."""
    layout = {"tensor_parallel_size": tensor, "pipeline_parallel_size": pipeline}
    ranks = run_ranks(scenarios.logits_and_weights, tensor * pipeline, folders, layout)
    for number, (folder, expected) in enumerate(zip(folders, expected_logits, strict=True)):
        found = next(rank[number]["logits"] for rank in ranks if rank[number]["logits"] is not None)
        assert (found[..., : expected.shape[-1]] - expected).abs().max() <= 1e-4, folder.name
        assert found.shape[-1] % 16 == 0

        source = load_file(folder / "model.safetensors")
        architecture = Architecture.read(folder)
        names = [part.name for op in weight_map(architecture).values() if op.exported for part in op.parts]
        for rank in ranks:
            stream = rank[number]["weights"]
            assert [name for name, _ in stream] == names
            assert all(torch.equal(tensor, source[name]) for name, tensor in stream)
        assert set(names) == set(source)
