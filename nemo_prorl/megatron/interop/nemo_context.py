"""context/ of a NeMo 2 checkpoint, written by NeMo itself: the one place that needs nemo-toolkit (`[nemo]`).

io.json is a serialized Fiddle config of NeMo's classes, in NeMo's own release: nobody else can write it rightly.
Reading a NeMo checkpoint doesn't need it.
"""

from __future__ import annotations

import importlib
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nemo_prorl.errors import ConfigError
from nemo_prorl.megatron.interop.settings import settings_of
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.safetensors_file import TORCH_DTYPES

TOKENIZER = "nemo_tokenizer"
_HOW_TO = "Install the extra: pip install 'nemo-prorl[nemo]' (docs/converters.md says with what it has been tried)."
# NeMo's classes by family: the module below nemo.collections.llm.gpt.model, and how the classes' names begin.
_CLASSES = {"qwen2": ("qwen2", "Qwen2"), "qwen3": ("qwen3", "Qwen3"), "llama": ("llama", "Llama")}


def check_nemo() -> None:
    """See that NeMo's context can be written, before anything else is.

    Raises:
        ConfigError: nemo-toolkit isn't installed, or is a release without language models.
    """
    try:
        found = version("nemo-toolkit")
    except PackageNotFoundError:
        raise ConfigError(
            f"a NeMo checkpoint's context can be written by nemo-toolkit only, which isn't installed. {_HOW_TO}"
        ) from None
    if not found.startswith("2."):
        raise ConfigError(f"nemo-toolkit {found} is installed, but only 2.x has language models. {_HOW_TO}")


def write_context(context: Path, architecture: Architecture) -> None:
    """Let NeMo write io.json and model.yaml into `context`, which holds the tokenizer already.

    Raises:
        ConfigError: this NeMo can't, with its own words.
    """
    try:
        _dump(context, architecture)
    except (ImportError, AttributeError, TypeError, ValueError) as error:
        raise ConfigError(
            f"nemo-toolkit could not write a NeMo checkpoint's context ({type(error).__name__}: {error}). {_HOW_TO}"
        ) from error


def _dump(context: Path, architecture: Architecture) -> None:
    from nemo.collections.common.tokenizers.huggingface.auto_tokenizer import AutoTokenizer
    from nemo.lightning import Trainer
    from nemo.lightning.io.pl import TrainerContext

    with tempfile.TemporaryDirectory() as scratch:
        # NeMo copies the tokenizer that it is given to where it writes, under the folder's own name.
        tokenizer = Path(scratch) / TOKENIZER
        shutil.move(context / TOKENIZER, tokenizer)
        model = _model(architecture, AutoTokenizer(str(tokenizer)))
        trainer = Trainer(accelerator="cpu", devices=1, logger=False, enable_checkpointing=False)
        TrainerContext(model=model, trainer=trainer, extra={}).io_dump(context, yaml_attrs=["model"])
        if not (context / TOKENIZER).is_dir():
            shutil.copytree(tokenizer, context / TOKENIZER)


def _model(architecture: Architecture, tokenizer: Any) -> Any:
    from nemo.collections.llm.gpt import model as models

    module, name = _CLASSES[architecture.family]
    family = importlib.import_module(f"{models.__name__}.{module}")
    settings = settings_of(architecture)
    scaling = architecture.rope_scaling
    kind = f"{name}Config"
    if scaling is not None and scaling["rope_type"] == "llama3":
        kind = "Llama31Config"
        for key in ("rope_scaling", "rope_scaling_factor"):
            settings.pop(key)
        settings["scale_factor"] = scaling["factor"]
    elif scaling is not None and scaling["rope_type"] != "linear":
        raise ValueError(f"NeMo's {kind} knows no rotary positions of kind {scaling['rope_type']!r}")
    dtype = TORCH_DTYPES[architecture.dtype]
    config = getattr(family, kind)(**settings, params_dtype=dtype)
    return getattr(family, f"{name}Model")(config, tokenizer=tokenizer)
