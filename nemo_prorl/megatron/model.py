"""Megatron's GPTModel for a Hugging Face architecture."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
from megatron.core.models.gpt.gpt_layer_specs import get_gpt_layer_with_transformer_engine_spec
from megatron.core.transformer.module import Float16Module
from megatron.core.transformer.transformer_config import TransformerConfig
from torch.nn import Parameter

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.layer_spec import local_block_spec
from nemo_prorl.megatron.layout import padded_vocabulary
from nemo_prorl.megatron.names import TRANSFORMER_ENGINE_NAMES
from nemo_prorl.megatron.precision import ddp_settings, precision_of, transformer_settings
from nemo_prorl.megatron.rope import rope_settings
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.scoring import ScoringGPT
from nemo_prorl.weights.architecture import Architecture


@dataclass(frozen=True)
class PolicyModel:
    """This rank's part of a model: its chunks wrapped for data parallelism, and what they were made of.

    A rank has one chunk, or several that stand layers apart when its pipeline stage is cut into virtual ones.
    """

    architecture: Architecture
    config: MegatronConfig
    transformer_config: TransformerConfig
    chunks: list[DistributedDataParallel]
    padded_vocab: int
    uses_te: bool

    @property
    def gpts(self) -> list[ScoringGPT]:
        """The bare model of each chunk."""
        modules = [chunk.module for chunk in self.chunks]
        return [module.module if isinstance(module, Float16Module) else module for module in modules]

    def parameters(self) -> Iterator[Parameter]:
        for gpt in self.gpts:
            yield from gpt.parameters()


def build_model(architecture: Architecture, config: MegatronConfig, runtime: Runtime) -> PolicyModel:
    """A model of this rank's layers with fresh weights, on this rank's device."""
    on_gpu, precision = runtime.device.type == "cuda", precision_of(config)
    # Its attention over packs has kernels for 16 bits only.
    uses_te = on_gpu and precision.bf16 and importlib.util.find_spec("transformer_engine") is not None
    transformer_config = _transformer_config(architecture, config, on_gpu)
    padded_vocab = padded_vocabulary(architecture, config)
    virtual_stages = range(config.virtual_pipeline_size) if config.virtual_pipeline_size > 1 else [None]
    chunks = []
    for number, stage in enumerate(virtual_stages):
        gpt = _chunk(architecture, transformer_config, padded_vocab, uses_te, stage).to(runtime.device)
        chunk = DistributedDataParallel(
            transformer_config,
            DistributedDataParallelConfig(
                **ddp_settings(config),
                use_distributed_optimizer=config.distributed_optimizer,
                average_in_collective=False,  # the loss is divided once, by the global token count
            ),
            Float16Module(transformer_config, gpt) if precision.bf16 else gpt,
            disable_bucketing=number > 0,
        )
        chunk.broadcast_params()
        chunks.append(chunk)
    return PolicyModel(architecture, config, transformer_config, chunks, padded_vocab, uses_te)


def _chunk(
    architecture: Architecture,
    transformer_config: TransformerConfig,
    padded_vocab: int,
    uses_te: bool,
    virtual_stage: int | None,
) -> ScoringGPT:
    """One chunk of the layers, with the embedding in the first of all chunks and the output layer in the last."""
    if uses_te:
        layers = get_gpt_layer_with_transformer_engine_spec(qk_layernorm=architecture.qk_norm)
    else:
        layers = local_block_spec(transformer_config, virtual_stage, on_cpu=transformer_config.use_cpu_initialization)
    where = {"ignore_virtual": False, "vp_stage": virtual_stage}
    return ScoringGPT(
        transformer_config,
        layers,
        vocab_size=padded_vocab,
        max_sequence_length=architecture.max_positions,
        # Our own attention turns queries and keys itself, at each token's own position in the pack.
        **(rope_settings(architecture, transformer_config) if uses_te else {"position_embedding_type": "none"}),
        share_embeddings_and_output_weights=architecture.tied_embeddings,
        pre_process=parallel_state.is_pipeline_first_stage(**where),
        post_process=parallel_state.is_pipeline_last_stage(**where),
        parallel_output=True,
        vp_stage=virtual_stage,
    )


def _transformer_config(architecture: Architecture, config: MegatronConfig, on_gpu: bool) -> TransformerConfig:
    return TransformerConfig(
        num_layers=architecture.num_layers,
        hidden_size=architecture.hidden_size,
        ffn_hidden_size=architecture.ffn_size,
        num_attention_heads=architecture.num_heads,
        num_query_groups=architecture.num_kv_heads,
        kv_channels=architecture.head_dim,
        normalization="RMSNorm",
        layernorm_epsilon=architecture.rms_norm_eps,
        gated_linear_unit=True,
        activation_func=F.silu,
        add_bias_linear=False,
        add_qkv_bias=architecture.qkv_bias,
        qk_layernorm=architecture.qk_norm,
        attention_dropout=0.0,
        hidden_dropout=0.0,
        calculate_per_token_loss=True,
        finalize_model_grads_func=finalize_model_grads,
        use_cpu_initialization=not on_gpu,
        gradient_accumulation_fusion=False,
        masked_softmax_fusion=on_gpu,
        bias_dropout_fusion=on_gpu,
        bias_activation_fusion=on_gpu,
        apply_rope_fusion=False,
        persist_layer_norm=on_gpu,
        init_method_std=0.02,
        **transformer_settings(config),
        **_layout_settings(config),
        **_RECOMPUTE[config.recompute],
    )


def _layout_settings(config: MegatronConfig) -> dict[str, Any]:
    interleaved = config.virtual_pipeline_size > 1
    return {
        "tensor_model_parallel_size": config.tensor_parallel_size,
        "sequence_parallel": config.sequence_parallel,
        "pipeline_model_parallel_size": config.pipeline_parallel_size,
        "virtual_pipeline_model_parallel_size": config.virtual_pipeline_size if interleaved else None,
        "context_parallel_size": config.context_parallel_size,
        # Stages tell each other the shape of every microbatch, so that none is padded; virtual ones can't.
        # (Megatron ties that to a dispatcher of experts, which these models don't have.)
        "variable_seq_lengths": config.pipeline_parallel_size > 1 and not interleaved,
        "moe_token_dispatcher_type": "alltoall",
        # Of two stages each is the other's next and previous: only single messages go in an order that tells.
        "batch_p2p_comm": not interleaved,
        "deallocate_pipeline_outputs": False,
    }


_RECOMPUTE: dict[str, dict[str, Any]] = {
    "none": {},
    "selective": {"recompute_granularity": "selective", "recompute_modules": ["core_attn"]},
    "full": {"recompute_granularity": "full", "recompute_method": "uniform", "recompute_num_layers": 1},
}


def local_name_of(name: str, layers: Any) -> str:
    """A parameter's name as the weight maps have it: with its global layer number, and local specs' norm names."""
    for te_name, local_name in TRANSFORMER_ENGINE_NAMES.items():
        name = name.replace(te_name, local_name)
    if name.startswith("decoder.layers."):
        _, _, local_number, rest = name.split(".", 3)
        name = f"decoder.layers.{layers[int(local_number)].layer_number - 1}.{rest}"
    return name


def named_parameters(model: PolicyModel) -> Iterator[tuple[str, torch.nn.Parameter]]:
    """This rank's parameters under the names of the weight maps."""
    for gpt in model.gpts:
        for name, parameter in gpt.named_parameters():
            yield local_name_of(name, gpt.decoder.layers), parameter
