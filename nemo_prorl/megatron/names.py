"""Names of a layer's parameters in Megatron's two kinds of layers."""

# Transformer Engine fuses a norm with the projection after it and names it after that. Checkpoints have these names,
# whichever kind of layers wrote them.
TRANSFORMER_ENGINE_NAMES = {
    "self_attention.linear_qkv.layer_norm_weight": "input_layernorm.weight",
    "mlp.linear_fc1.layer_norm_weight": "pre_mlp_layernorm.weight",
}
