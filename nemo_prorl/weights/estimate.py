"""What training a model takes, by its architecture alone: floating-point operations, and parameters of a rank."""

from __future__ import annotations

from collections.abc import Iterable

from nemo_prorl.data.balance import TrainingCost
from nemo_prorl.weights.architecture import Architecture


def training_cost(architecture: Architecture, attention_cost: float = 1.0) -> TrainingCost:
    """What rows cost, in floating-point operations of a forward pass's matrix products.

    Two for each weight and token, the output layer's too; for attention two products of a query with the keys (and the
    probabilities with the values) that stand before it, half of a square. One of attention's takes as long as
    `attention_cost` of the others, which is measured (`python -m benchmarks costs`).
    """
    weights = architecture.num_layers * architecture.layer_parameter_count
    weights += architecture.vocab_size * architecture.hidden_size
    pair = 2.0 * architecture.num_layers * architecture.query_size
    return TrainingCost(a_token=2.0 * weights, a_pair=pair * attention_cost)


def training_operations(architecture: Architecture, lengths: Iterable[int]) -> float:
    """Floating-point operations of a forward and a backward pass over rows of so many tokens, recomputation left out.

    Three forward passes' worth: each product has two more in the backward pass. What the model's figures of speed are
    taken of, as in PaLM's appendix B, but that attention is causal: half of a square of pairs.
    """
    cost = training_cost(architecture)
    return 3.0 * sum(cost.a_token * length + cost.a_pair * length**2 for length in lengths)


def utilization(operations: float, seconds: float, peak_a_second: float) -> float:
    """Model FLOPs utilization: the model's own operations, as a share of what the device could have done meanwhile."""
    return operations / (seconds * peak_a_second)


def rank_parameter_count(
    architecture: Architecture, *, tensor_parallel_size: int, pipeline_parallel_size: int, padded_vocab: int
) -> int:
    """Parameters on the fullest rank, padding included. With tied embeddings the last stage holds a copy of them."""
    norms = 2 * architecture.hidden_size + (2 * architecture.head_dim if architecture.qk_norm else 0)
    layer = norms + (architecture.layer_parameter_count - norms) // tensor_parallel_size  # norms are on every TP rank
    layers = layers_per_stage(architecture, pipeline_parallel_size) * layer
    embedding = padded_vocab * architecture.hidden_size // tensor_parallel_size
    final = architecture.hidden_size
    if pipeline_parallel_size > 1:
        return layers + embedding + final
    return layers + embedding * (1 if architecture.tied_embeddings else 2) + final


def layers_per_stage(architecture: Architecture, pipeline_parallel_size: int) -> int:
    """Of the fullest pipeline stage."""
    return -(-architecture.num_layers // pipeline_parallel_size)
