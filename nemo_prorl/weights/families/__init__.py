"""The model families, and how one is added: a file with a `table`, a line here, a line in `architecture.MODEL_CLASSES`.

A family's table maps each of Megatron's tensor names to the operation that makes it of Hugging Face's tensors.
"""

from __future__ import annotations

from nemo_prorl.plugins import resolve
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.mapping import Operation, expand

FAMILIES = {
    "qwen2": "nemo_prorl.weights.families.qwen2:table",
    "qwen3": "nemo_prorl.weights.families.qwen3:table",
    "llama": "nemo_prorl.weights.families.llama:table",
}


def weight_map(architecture: Architecture) -> dict[str, Operation]:
    """{Megatron's tensor name with its global layer number: operation}, in the order weights are streamed."""
    table = resolve(architecture.family, FAMILIES, "family")
    return expand(table(architecture), architecture.num_layers)
