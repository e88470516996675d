"""The config.json of the models that presets are for: what sizes them, written from their makers' pages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

# DeepSeek-R1-Distill-Qwen-1.5B, which the paper trains. Its embeddings are not tied.
QWEN_1_5B: dict[str, Any] = {
    "architectures": ["Qwen2ForCausalLM"],
    "model_type": "qwen2",
    "hidden_size": 1536,
    "intermediate_size": 8960,
    "num_hidden_layers": 28,
    "num_attention_heads": 12,
    "num_key_value_heads": 2,
    "vocab_size": 151_936,
    "max_position_embeddings": 131_072,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000,
    "tie_word_embeddings": False,
    "use_sliding_window": False,
    "torch_dtype": "bfloat16",
}
# Qwen2.5-7B.
QWEN_7B: dict[str, Any] = QWEN_1_5B | {
    "hidden_size": 3584,
    "intermediate_size": 18_944,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "vocab_size": 152_064,
    "rope_theta": 1_000_000.0,
}


def folder_with(config: dict[str, Any], path: Path) -> Path:
    """A model folder that can be planned for: there is no weight in it."""
    path.mkdir(parents=True)
    (path / "config.json").write_text(json.dumps(config))
    return path


# Nobody's: small enough to count by hand.
BY_HAND = {
    "architectures": ["LlamaForCausalLM"],
    "hidden_size": 4,
    "intermediate_size": 6,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "vocab_size": 10,
    "max_position_embeddings": 64,
}
