"""Qwen2 and Qwen2.5: biases on q, k and v."""

from __future__ import annotations

from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families.decoder import decoder, fused_qkv
from nemo_prorl.weights.mapping import Operation


def table(architecture: Architecture) -> dict[str, Operation]:
    return decoder(
        architecture,
        attention=fused_qkv("weight", architecture, architecture.hidden_size) | fused_qkv("bias", architecture),
    )
