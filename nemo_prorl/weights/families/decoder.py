"""What all families have in common: the tensors of a pre-norm decoder with grouped-query attention and SwiGLU.

Megatron's names are those of its local layer specs. Transformer Engine's specs hold the same tensors, two norms under
other names.
"""

from __future__ import annotations

from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.mapping import Copy, FusedGateUp, FusedQKV, Operation, Part, RowParallel, Vocabulary

MEGATRON_LAYER = "decoder.layers.{layer}."
HF_LAYER = "model.layers.{layer}."


def decoder(architecture: Architecture, attention: dict[str, Operation]) -> dict[str, Operation]:
    """The whole table; `attention` holds the family's own entries inside the attention block."""
    hidden, ffn = architecture.hidden_size, architecture.ffn_size
    return {
        "embedding.word_embeddings.weight": vocabulary("model.embed_tokens.weight", architecture),
        MEGATRON_LAYER + "input_layernorm.weight": copy("input_layernorm.weight", hidden),
        **attention,
        MEGATRON_LAYER + "self_attention.linear_proj.weight": row_parallel(
            "self_attn.o_proj.weight", hidden, architecture.query_size
        ),
        MEGATRON_LAYER + "pre_mlp_layernorm.weight": copy("post_attention_layernorm.weight", hidden),
        MEGATRON_LAYER + "mlp.linear_fc1.weight": FusedGateUp(
            (
                Part(HF_LAYER + "mlp.gate_proj.weight", (ffn, hidden)),
                Part(HF_LAYER + "mlp.up_proj.weight", (ffn, hidden)),
            )
        ),
        MEGATRON_LAYER + "mlp.linear_fc2.weight": row_parallel("mlp.down_proj.weight", hidden, ffn),
        "decoder.final_layernorm.weight": Copy((Part("model.norm.weight", (hidden,)),)),
        "output_layer.weight": output_layer(architecture),
    }


def fused_qkv(kind: str, architecture: Architecture, *tail: int) -> dict[str, Operation]:
    """The entry of the q, k and v projections' `kind`, "weight" or "bias"; `tail` is the shape after the first axis."""
    sizes = {"q": architecture.query_size, "k": architecture.kv_size, "v": architecture.kv_size}
    parts = tuple(Part(f"{HF_LAYER}self_attn.{letter}_proj.{kind}", (rows, *tail)) for letter, rows in sizes.items())
    name = f"{MEGATRON_LAYER}self_attention.linear_qkv.{kind}"
    return {name: FusedQKV(parts, groups=architecture.num_kv_heads)}


def copy(name: str, size: int) -> Copy:
    """A vector of a layer, `name` without the layer's prefix."""
    return Copy((Part(HF_LAYER + name, (size,)),))


def row_parallel(name: str, rows: int, columns: int) -> RowParallel:
    """An output projection of a layer, `name` without the layer's prefix."""
    return RowParallel((Part(HF_LAYER + name, (rows, columns)),))


def vocabulary(name: str, architecture: Architecture) -> Vocabulary:
    """A matrix with a row for each token."""
    return Vocabulary((Part(name, (architecture.vocab_size, architecture.hidden_size)),))


def output_layer(architecture: Architecture) -> Vocabulary:
    """The projection to logits.

    With tied embeddings Hugging Face has no tensor for it, and Megatron has one only on the last of several pipeline
    stages: a copy of the embeddings, which the first stage gives back.
    """
    if not architecture.tied_embeddings:
        return vocabulary("lm_head.weight", architecture)
    embeddings = vocabulary("model.embed_tokens.weight", architecture)
    return Vocabulary(embeddings.parts, exported=False)
