"""Random models of every family, small enough for any test, as Hugging Face folders that plain transformers loads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from nemo_prorl.quickstart.tiny_model import make_tokenizer

FAMILIES = {
    "qwen2": (Qwen2Config, Qwen2ForCausalLM),
    "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    "llama": (LlamaConfig, LlamaForCausalLM),
}


def tiny_hf_folder(
    path: str | Path,
    family: str = "qwen2",
    tied: bool = True,
    *,
    hidden_size: int = 32,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    ffn_size: int = 64,
    head_dim: int | None = None,
    vocabulary_size: int | None = None,
    seed: int = 0,
    scale: float = 0.05,
    **config: Any,
) -> Path:
    """A float32 model with its tokenizer in the folder `path`. `vocabulary_size` None: the tokenizer's 279.

    Norms and biases are random too, so that a swapped or forgotten one shows. `scale`: the spread of all of them; with
    more, the model is surer of what it says. `config` goes to the family's config.
    """
    tokenizer = make_tokenizer()
    config_class, model_class = FAMILIES[family]
    if head_dim is None and family == "qwen3":
        head_dim = hidden_size // heads  # its own default is 128
    if head_dim is not None:
        config["head_dim"] = head_dim
    settings = {
        "vocab_size": vocabulary_size or len(tokenizer),
        "hidden_size": hidden_size,
        "intermediate_size": ffn_size,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "max_position_embeddings": 256,
        "tie_word_embeddings": tied,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        "dtype": "float32",
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = model_class(config_class(**settings | config)).float()
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                center = 1.0 if "norm" in name else 0.0
                parameter.copy_(center + scale * torch.randn_like(parameter))
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return Path(path)
