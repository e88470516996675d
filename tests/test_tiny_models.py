"""The models that other tests stand on are what they say."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

from nemo_prorl.data.tokenizer import Tokenizer
from tests.tiny_models import FAMILIES, tiny_hf_folder


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_plain_transformers_loads_every_family(tmp_path, family, tied):
    folder = tiny_hf_folder(tmp_path, family, tied, vocabulary_size=300)
    weights = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    assert (config["model_type"], config["tie_word_embeddings"], config["vocab_size"]) == (family, tied, 300)
    assert ("lm_head.weight" in weights) is not tied
    assert any(name.endswith("q_proj.bias") for name in weights) is (family == "qwen2")
    assert any(name.endswith("q_norm.weight") for name in weights) is (family == "qwen3")
    assert all(tensor.std() > 0 for tensor in weights.values())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), Tokenizer.load(folder)
    logits = model(torch.tensor([tokenizer.render([{"role": "user", "content": "1+1?"}])])).logits
    assert logits.shape[-1] == 300
    assert torch.isfinite(logits).all()


def test_the_seed_decides_the_weights(tmp_path):
    one, same, other = (tiny_hf_folder(tmp_path / name, seed=seed) for name, seed in (("a", 0), ("b", 0), ("c", 1)))
    assert (one / "model.safetensors").read_bytes() == (same / "model.safetensors").read_bytes()
    assert (one / "model.safetensors").read_bytes() != (other / "model.safetensors").read_bytes()
