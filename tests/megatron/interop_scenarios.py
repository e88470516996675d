"""What ranks do in the tests of converted checkpoints: functions that `run_ranks` starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mbridge.core.bridge
import mbridge.core.util
import megatron.core.parallel_state
import torch
from mbridge.models.llama import LLaMABridge
from mbridge.models.qwen2 import Qwen2Bridge
from mbridge.models.qwen3 import Qwen3Bridge
from megatron.core import dist_checkpointing
from torch import Tensor
from transformers import AutoConfig

from nemo_prorl.megatron.interop.neighbours import CONTENT
from nemo_prorl.megatron.model import PolicyModel, named_parameters
from tests.megatron.scenarios import engine

BRIDGES = {"qwen2": Qwen2Bridge, "qwen3": Qwen3Bridge, "llama": LLaMABridge}


def loaded_by_megatron(folder: Path, checkpoint: Path, settings: dict[str, Any]) -> dict[str, Tensor]:
    """The model's tensors by Hugging Face's names after Megatron's own loader has read the checkpoint."""
    with engine(folder, settings) as mine:
        with torch.no_grad():
            for parameter in mine.model.parameters():
                parameter.fill_(float("nan"))
        _load(mine.model, checkpoint)
        return mine.weights()


def mbridge_against_ours(
    pairs: list[tuple[Path, Path]], settings: dict[str, Any]
) -> list[tuple[list[str], list[str], int]]:
    """`_mbridge_against_ours` of every (folder, checkpoint)."""
    return [_mbridge_against_ours(folder, checkpoint, settings) for folder, checkpoint in pairs]


def _mbridge_against_ours(folder: Path, checkpoint: Path, settings: dict[str, Any]) -> tuple[list[str], list[str], int]:
    """Parameters that mbridge reads of `folder` otherwise than Megatron reads of `checkpoint`; tensors that mbridge
    exports of the loaded model otherwise than they stand in `folder`; and how many those are."""
    with engine(folder, settings) as mine:
        torch_for_megatron = megatron.core.parallel_state.torch  # whose cuda is the CPU
        for module in (mbridge.core.bridge, mbridge.core.util):
            module.torch = torch_for_megatron
        bridge = _bridge(folder, mine.model)
        _load(mine.model, checkpoint)
        ours = {name: parameter.detach().clone() for name, parameter in named_parameters(mine.model)}
        exported = {name: tensor.clone() for name, tensor in bridge.export_weights(mine.model.gpts)}
        original = mine.weights()
        with torch.no_grad():
            for parameter in mine.model.parameters():
                parameter.fill_(float("nan"))
        bridge.load_weights(mine.model.gpts, str(folder))
        read = [name for name, parameter in named_parameters(mine.model) if not torch.equal(parameter, ours[name])]
        written = [name for name in original if not torch.equal(exported.get(name, torch.zeros(0)), original[name])]
        return read, written + sorted(set(exported) - set(original)), len(exported)


def _bridge(folder: Path, model: PolicyModel) -> Any:
    """mbridge's, which knows the norms' names of Transformer Engine only."""
    config = AutoConfig.from_pretrained(folder)
    kind = BRIDGES[config.model_type]
    layer = "model.layers.{layer_number}."

    class WithLocalNorms(kind):  # type: ignore[misc,valid-type]
        pass

    WithLocalNorms._DIRECT_MAPPING = dict(
        kind._DIRECT_MAPPING
    )  # it changes it for tied embeddings, for later models too
    WithLocalNorms._MLP_MAPPING = kind._MLP_MAPPING | {
        "pre_mlp_layernorm.weight": [layer + "post_attention_layernorm.weight"]
    }
    WithLocalNorms._OTHER_MAPPING = {"input_layernorm.weight": [layer + "input_layernorm.weight"]}
    bridge = WithLocalNorms(config, dtype=torch.float32, make_vocab_size_divisible_by=model.padded_vocab)
    bridge.vocab_size, bridge.padded_vocab_size = config.vocab_size, model.padded_vocab
    return bridge


def _load(model: PolicyModel, checkpoint: Path) -> None:
    sharded = {
        f"{number}:{name}": entry
        for number, gpt in enumerate(model.gpts)
        for name, entry in gpt.sharded_state_dict(metadata=dict(CONTENT)).items()
    }
    loaded = dist_checkpointing.load({"model": sharded}, str(checkpoint))["model"]
    with torch.no_grad():
        for number, gpt in enumerate(model.gpts):
            for name, parameter in gpt.named_parameters():
                parameter.copy_(loaded[f"{number}:{name}"])
