"""Qwen3, dense: every query head and key head is normalised, with one weight for all heads; no biases."""

from __future__ import annotations

from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families.decoder import MEGATRON_LAYER, copy, decoder, fused_qkv
from nemo_prorl.weights.mapping import Operation


def table(architecture: Architecture) -> dict[str, Operation]:
    norms: dict[str, Operation] = {
        MEGATRON_LAYER + "self_attention.q_layernorm.weight": copy("self_attn.q_norm.weight", architecture.head_dim),
        MEGATRON_LAYER + "self_attention.k_layernorm.weight": copy("self_attn.k_norm.weight", architecture.head_dim),
    }
    return decoder(architecture, attention=fused_qkv("weight", architecture, architecture.hidden_size) | norms)
