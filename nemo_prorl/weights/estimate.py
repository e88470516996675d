"""How much memory training a model takes on its fullest rank: arithmetic alone, nothing is built.

Parameters, gradients, optimizer and reference are exact up to allocator overhead. Activations and logits are what a
forward pass keeps for the backward pass without recomputation, to within about a factor of two.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from math import lcm
from typing import Literal

from nemo_prorl.data.balance import TrainingCost
from nemo_prorl.weights.architecture import Architecture

FP32_BYTES = 4


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes on the fullest rank."""

    parameters: int
    gradients: int
    optimizer: int
    reference: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        """All of them together."""
        return sum(getattr(self, field.name) for field in fields(self))


def estimate_memory(
    architecture: Architecture,
    *,
    tokens_per_microbatch: int,
    precision: Literal["fp32", "bf16"] = "fp32",
    tensor_parallel_size: int = 1,
    pipeline_parallel_size: int = 1,
    data_parallel_size: int = 1,
    distributed_optimizer: bool = False,
    vocabulary_multiple: int = 128,
    reference: bool = True,
    sequence_parallel: bool = False,
    recompute: Literal["none", "selective", "full"] = "none",
    logit_rows: int = 128,
) -> MemoryEstimate:
    """Memory of one rank in training. `logit_rows`: tokens whose logits exist at a time (`layout.chunk_height`).

    Gradients are kept in fp32. AdamW keeps two fp32 moments, and in bf16 an fp32 master copy of each parameter; with
    `distributed_optimizer` the data-parallel ranks share them out.
    """
    padded_vocab = architecture.padded_vocab(lcm(vocabulary_multiple, tensor_parallel_size))
    count = rank_parameter_count(
        architecture,
        tensor_parallel_size=tensor_parallel_size,
        pipeline_parallel_size=pipeline_parallel_size,
        padded_vocab=padded_vocab,
    )
    element_bytes = FP32_BYTES if precision == "fp32" else 2
    optimizer = count * FP32_BYTES * (2 if precision == "fp32" else 3)
    # The first of p pipeline stages holds p microbatches when the first backward pass begins (1F1B).
    microbatch_layers = _layers_per_stage(architecture, pipeline_parallel_size) * pipeline_parallel_size
    per_token = _activations_per_token(architecture, tensor_parallel_size, sequence_parallel)
    kept = tokens_per_microbatch * microbatch_layers * per_token
    if recompute == "full":  # of each layer its input alone; and the one that is computed again, whole
        inputs = architecture.hidden_size // (tensor_parallel_size if sequence_parallel else 1)
        kept = tokens_per_microbatch * (microbatch_layers * inputs + per_token)
    return MemoryEstimate(
        parameters=count * element_bytes,
        gradients=count * FP32_BYTES,
        optimizer=-(-optimizer // data_parallel_size) if distributed_optimizer else optimizer,
        reference=count * element_bytes if reference else 0,
        activations=kept * element_bytes,
        # Of one chunk of tokens: logits, and their exponentials or gradients.
        logits=min(logit_rows, tokens_per_microbatch) * padded_vocab // tensor_parallel_size * 2 * FP32_BYTES,
    )


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


def rank_parameter_count(
    architecture: Architecture, *, tensor_parallel_size: int, pipeline_parallel_size: int, padded_vocab: int
) -> int:
    """Parameters on the fullest rank, padding included. With tied embeddings the last stage holds a copy of them."""
    norms = 2 * architecture.hidden_size + (2 * architecture.head_dim if architecture.qk_norm else 0)
    layer = norms + (architecture.layer_parameter_count - norms) // tensor_parallel_size  # norms are on every TP rank
    layers = _layers_per_stage(architecture, pipeline_parallel_size) * layer
    embedding = padded_vocab * architecture.hidden_size // tensor_parallel_size
    final = architecture.hidden_size
    if pipeline_parallel_size > 1:
        return layers + embedding + final
    return layers + embedding * (1 if architecture.tied_embeddings else 2) + final


def _layers_per_stage(architecture: Architecture, pipeline_parallel_size: int) -> int:
    return -(-architecture.num_layers // pipeline_parallel_size)


def _activations_per_token(architecture: Architecture, tensor_parallel_size: int, sequence_parallel: bool) -> int:
    """Numbers that one layer keeps for one token.

    Whole on every TP rank, unless sequence parallelism cuts them: inputs and outputs of the two norms and the residual
    between them (5 x hidden). Cut: q, k and v, q and k rotated, the attention's output, and in the MLP gate, up,
    silu(gate) and their product. Selective recomputation keeps all of these: what it leaves out, flash attention never
    has.
    """
    attention = 3 * architecture.query_size + 3 * architecture.kv_size
    norms = 5 * architecture.hidden_size // (tensor_parallel_size if sequence_parallel else 1)
    return norms + (attention + 4 * architecture.ffn_size) // tensor_parallel_size
