"""Llama 2, 3, 3.1, 3.2 (text): the plain decoder. Distilled models of that architecture too."""

from __future__ import annotations

from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families.decoder import decoder, fused_qkv
from nemo_prorl.weights.mapping import Operation


def table(architecture: Architecture) -> dict[str, Operation]:
    return decoder(architecture, attention=fused_qkv("weight", architecture, architecture.hidden_size))
