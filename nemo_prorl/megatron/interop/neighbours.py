"""The files beside the tensors by which Megatron-LM, Megatron-Bridge and NeMo 2 know what model they are.

checkpoints/
    latest_checkpointed_iteration.txt   Megatron-LM's marker: the newest step
    latest_train_state.pt               Megatron-Bridge's marker
    iter_0000050/
        common.pt                       `args` and `iteration`, as Megatron-LM wants them
        run_config.yaml                 the model as Megatron-Bridge builds it
        train_state.pt                  Megatron-Bridge's counters
        tokenizer/                      config.json, tokenizer and generation config: all of the model but weights

a NeMo 2 checkpoint
    weights/                            a torch_dist checkpoint, names beginning with "module."
    context/model.yaml, io.json         the model as NeMo builds it
    context/nemo_tokenizer/, artifacts/ tokenizer, generation config
"""

from __future__ import annotations

import io
import pickle
import zipfile
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
import yaml

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron.interop.plain_pickle import plain_loads
from nemo_prorl.megatron.interop.settings import DTYPE_NAMES, arguments_of, settings_of, settings_of_arguments
from nemo_prorl.weights.architecture import Architecture

COMMON, RUN_CONFIG, TRAIN_STATE, TOKENIZER = "common.pt", "run_config.yaml", "train_state.pt", "tokenizer"
LATEST_TRAIN_STATE = "latest_train_state.pt"

# How Megatron lays optimizer state out: by parameter, so that any layout can read what another wrote.
CONTENT = {
    "distrib_optim_sharding_type": "fully_reshardable",
    "singleton_local_shards": False,
    "chained_optim_avoid_prefix": True,
}
_PROVIDERS = {
    "qwen2": "megatron.bridge.models.qwen.qwen_provider.Qwen2ModelProvider",
    "qwen3": "megatron.bridge.models.qwen.qwen_provider.Qwen3ModelProvider",
    "llama": "megatron.bridge.models.llama.llama_provider.LlamaModelProvider",
}


def megatron_lm_entries(architecture: Architecture, padded_vocab: int, step: int) -> dict[str, Any]:
    """What common.pt must hold beside the content for Megatron-LM to load the checkpoint."""
    arguments = arguments_of(architecture, padded_vocab)
    return {"args": Namespace(**arguments, iteration=step), "checkpoint_version": 3.0, "iteration": step}


def bridge_files(architecture: Architecture, padded_vocab: int, step: int) -> dict[str, bytes]:
    """What Megatron-Bridge wants in a checkpoint's folder, by name: run_config.yaml and train_state.pt."""
    text = yaml.safe_dump(run_config_of(architecture, padded_vocab), sort_keys=False)
    counters = io.BytesIO()
    torch.save(train_state_of(step), counters)
    return {RUN_CONFIG: text.encode(), TRAIN_STATE: counters.getvalue()}


def run_config_of(architecture: Architecture, padded_vocab: int) -> dict[str, Any]:
    """The sections of Megatron-Bridge's run_config.yaml that its loaders read."""
    dtype = {"_target_": f"torch.{DTYPE_NAMES[architecture.dtype]}", "_call_": False}
    model = {
        "_target_": _PROVIDERS[architecture.family],
        **settings_of(architecture),
        "params_dtype": dtype,
        "autocast_dtype": dtype,
        "pipeline_dtype": dtype,
        "make_vocab_size_divisible_by": _multiple(architecture, padded_vocab),
        "should_pad_vocab": True,
        "tensor_model_parallel_size": 1,
        "pipeline_model_parallel_size": 1,
        "context_parallel_size": 1,
    }
    model = {name: value for name, value in model.items() if not (name.startswith("yarn_") and value is None)}
    return {
        "model": model,
        "tokenizer": {
            "_target_": "megatron.bridge.training.tokenizers.config.TokenizerConfig",
            "tokenizer_type": "HuggingFaceTokenizer",
            "tokenizer_model": {"_target_": "pathlib.Path"},  # an empty path: the folder `tokenizer` beside this file
        },
        "checkpoint": {"save_optim": False, "save_rng": False, "fully_parallel_save": False},
    }


def _multiple(architecture: Architecture, padded_vocab: int) -> int:
    """A multiple to pad the vocabulary to that gives just this size."""
    return next(
        (size for size in (128, 64, 32, 16, 8) if architecture.padded_vocab(size) == padded_vocab), padded_vocab
    )


def train_state_of(step: int) -> dict[str, torch.Tensor]:
    """Megatron-Bridge's counters; it counts samples of its own data only."""
    counters = ("consumed_train_samples", "skipped_train_samples", "consumed_valid_samples")
    return {
        "step": torch.tensor(step, dtype=torch.int32),
        **{name: torch.tensor(0, dtype=torch.int32) for name in counters},
        "floating_point_operations_so_far": torch.tensor(0, dtype=torch.float64),
        **{name: torch.tensor(False) for name in ("do_train", "do_valid", "do_test")},
    }


def read_common(folder: Path) -> dict[str, Any]:
    """common.pt of a checkpoint; what isn't plain data in it has become a `Stranger`.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    path = folder / COMMON
    try:
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.endswith("/data.pkl"))
            common = plain_loads(archive.read(name), persistent=lambda key: None)
    except (OSError, zipfile.BadZipFile, StopIteration, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{path} can't be read ({type(error).__name__}: {error}); take another checkpoint."
        ) from error
    return dict(common) if isinstance(common, dict) else {}


def read_settings(folder: Path) -> tuple[dict[str, Any], str] | None:
    """Settings of the model in a torch_dist folder, under TransformerConfig's names, and where they stand.

    None where nobody wrote them down.

    Raises:
        CheckpointError: what holds them is damaged.
    """
    if (folder / RUN_CONFIG).is_file():
        return _yaml(folder / RUN_CONFIG, "model"), f"{folder / RUN_CONFIG}"
    context = folder.parent / "context" / "model.yaml"
    if context.is_file():
        return _yaml(context, "config"), f"{context}"
    arguments = read_common(folder).get("args") if (folder / COMMON).is_file() else None
    if not isinstance(arguments, Namespace):
        return None
    return settings_of_arguments(vars(arguments)), f"args in {folder / COMMON}"


def _yaml(path: Path, section: str) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
        return dict(content[section])
    except (OSError, yaml.YAMLError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} has no readable section {section!r} ({error!r}); bring it back from a copy."
        ) from error
