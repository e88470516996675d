"""What Megatron's local layer specs are filled with here."""

from __future__ import annotations

from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_local_spec
from megatron.core.transformer.spec_utils import ModuleSpec
from megatron.core.transformer.transformer_block import TransformerBlockSubmodules, get_num_layers_to_build
from megatron.core.transformer.transformer_config import TransformerConfig

from nemo_prorl.megatron.attention import PackedAttention, PackedSelfAttention
from nemo_prorl.megatron.cpu_layers import ChunkedMLP, ChunkedSelfAttention
from nemo_prorl.megatron.modules import PackedMLP, RMSNorm


def local_block_spec(
    config: TransformerConfig, virtual_stage: int | None = None, *, on_cpu: bool
) -> TransformerBlockSubmodules:
    """Megatron's local decoder layers with our norm, attention and MLP, as many as this chunk of the model has."""
    layer: ModuleSpec = get_gpt_layer_local_spec(qk_layernorm=config.qk_layernorm, normalization="RMSNorm")
    layer.submodules.input_layernorm = layer.submodules.pre_mlp_layernorm = RMSNorm
    layer.submodules.self_attention.module = ChunkedSelfAttention if on_cpu else PackedSelfAttention
    layer.submodules.mlp.module = ChunkedMLP if on_cpu else PackedMLP
    attention = layer.submodules.self_attention.submodules
    attention.core_attention = PackedAttention
    if config.qk_layernorm:
        attention.q_layernorm = attention.k_layernorm = RMSNorm
    # With a bare layer spec the block's final norm would be LayerNorm.
    return TransformerBlockSubmodules(
        layer_specs=[layer] * get_num_layers_to_build(config, virtual_stage), layer_norm=RMSNorm
    )
