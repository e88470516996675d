"""A model folder of any format: what it is, what model it holds, and its tensors."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from nemo_prorl.errors import CheckpointError, ProRLError, WeightsError
from nemo_prorl.megatron import manifest
from nemo_prorl.megatron.checkpoint_folder import STATE
from nemo_prorl.megatron.interop.hf_view import HuggingFaceView
from nemo_prorl.megatron.interop.neighbours import RUN_CONFIG, TOKENIZER, read_common, read_settings
from nemo_prorl.megatron.interop.settings import architecture_of, dtype_of
from nemo_prorl.megatron.interop.stored_tensors import StoredTensors
from nemo_prorl.weights.architecture import Architecture, read_hf_config
from nemo_prorl.weights.hf_config import hf_config_of
from nemo_prorl.weights.hf_folder import TensorReader
from nemo_prorl.weights.identity import model_identity

log = logging.getLogger(__name__)

Format = Literal["hugging-face", "prorl", "megatron-lm", "megatron-bridge", "nemo"]
FORMATS = (
    "a Hugging Face folder (config.json, *.safetensors), a torch_dist checkpoint of prorl, Megatron-LM or "
    "Megatron-Bridge (iter_.../.metadata), or a NeMo 2 checkpoint (weights/, context/)"
)


@dataclass(frozen=True)
class ModelFolder:
    """A folder whose model is known.

    path     where its tensors lie: the folder of safetensors, an iter_... folder, NeMo's weights/
    config   the model's config.json, its own or made of what Megatron's family says about it
    files    where its tokenizer and generation config lie; None where there are none
    """

    format: Format
    path: Path
    architecture: Architecture
    config: dict[str, Any]
    files: Path | None
    padded_vocab: int | None = None

    @contextmanager
    def by_name(self) -> Iterator[TensorReader | HuggingFaceView]:
        """The tensors by Hugging Face's names, to compare; all that a folder of Hugging Face's holds, known or not."""
        if self.format == "hugging-face":
            with TensorReader(self.path) as reader:
                yield reader
        else:
            yield HuggingFaceView(StoredTensors(self.path), self.architecture)

    @contextmanager
    def tensors(self) -> Iterator[TensorReader | StoredTensors]:
        """The tensors, all of the architecture's and no others.

        Raises:
            ProRLError: tensors are missing, unknown, misshapen or damaged; all of them are listed.
        """
        if self.format == "hugging-face":
            with TensorReader(self.path) as reader:
                reader.check(self.architecture)
                yield reader
        else:
            stored = StoredTensors(self.path)
            stored.check(self.architecture, "its description" if self.files is None else str(self.files))
            yield stored


def open_folder(path: Path, like: Path | None = None) -> ModelFolder:
    """What lies at `path`: see `FORMATS`; of several checkpoints in it the newest whole one.

    `like` is a Hugging Face folder that describes the model, for a checkpoint that doesn't say what it is, or not
    rightly.

    Raises:
        CheckpointError: it is a checkpoint that is broken, or of a model that isn't known.
        WeightsError: it is nothing that we know, or `like` isn't.
    """
    if (path / "config.json").is_file() and not (path / ".metadata").is_file():
        return _hugging_face(path)
    if (path / "weights" / ".metadata").is_file():
        return _checkpoint(path / "weights", like)
    if (path / ".metadata").is_file():
        return _checkpoint(path, like)
    if path.is_dir() and (steps := sorted(path.glob("iter_*[0-9]"), reverse=True)):
        return _newest(path, steps, like)
    raise WeightsError(_unknown(path))


def _hugging_face(path: Path) -> ModelFolder:
    return ModelFolder("hugging-face", path, Architecture.read(path), read_hf_config(path), path)


def _newest(path: Path, steps: list[Path], like: Path | None) -> ModelFolder:
    problems = []
    for step in steps:
        try:
            return _checkpoint(step, like)
        except CheckpointError as error:
            log.warning("checkpoint %s is passed over: %s", step, error)
            problems.append(str(error))
    raise CheckpointError(f"{path} holds no whole checkpoint that can be used: {'; '.join(problems)}")


def _checkpoint(path: Path, like: Path | None) -> ModelFolder:
    if damage := _cut_off(path):
        raise CheckpointError(
            f"{path} is not a whole checkpoint: {damage}. Give another, or bring it back from a copy."
        )
    stored = StoredTensors(path)
    files = like if like is not None else _files(path)
    if files is not None and (files / "config.json").is_file():
        architecture, config = Architecture.read(files), read_hf_config(files)
        stored.check(architecture, str(files))
    else:
        found = read_settings(path)
        if found is None:
            raise CheckpointError(
                f"{path} doesn't say what model it is (no {RUN_CONFIG}, no args in common.pt, no context/model.yaml). "
                "Name the Hugging Face folder that the model came from with --like."
            )
        settings, where = found
        architecture = architecture_of(settings, where, dtype=dtype_of(stored.dtype), padded_vocab=stored.padded_vocab)
        stored.check(architecture, where)
        config = hf_config_of(architecture, _token_ids(files))
    architecture = replace(architecture, dtype=dtype_of(stored.dtype))
    return ModelFolder(_format(path), path, architecture, config, files, stored.padded_vocab)


def _format(path: Path) -> Format:
    if (path.parent / "context").is_dir():
        return "nemo"
    if (path / manifest.MANIFEST).is_file():
        return "prorl"
    return "megatron-bridge" if (path / RUN_CONFIG).is_file() else "megatron-lm"


def _files(path: Path) -> Path | None:
    """Where a checkpoint's tokenizer is kept."""
    for folder in (path / TOKENIZER, path.parent / "context" / "nemo_tokenizer"):
        if folder.is_dir():
            return folder
    state = read_state(path).get("state", {})
    if "settings" in state:  # a training's: where it started from, if that is still there
        folder = Path(state["settings"]["model"]["path"])
        if folder.is_dir() and model_identity(folder) == state["model"]:
            return folder
    return None


def read_state(path: Path) -> dict[str, Any]:
    """What prorl notes about a checkpoint of its own; empty for others."""
    try:
        state = json.loads((path / STATE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return state if isinstance(state, dict) else {}


def _cut_off(path: Path) -> str | None:
    """What files of prorl's list are missing or of another length. Contents are checked when they are read."""
    wanted = manifest.read(path)
    if wanted is None:
        return None
    problems = []
    for name, facts in sorted(wanted.items()):
        found = (path / name).stat().st_size if (path / name).is_file() else None
        if found is None:
            problems.append(f"{name} is missing")
        elif found != facts["bytes"]:
            problems.append(f"{name} has {found} bytes instead of {facts['bytes']}")
    return "; ".join(problems) or None


def _token_ids(files: Path | None) -> dict[str, Any]:
    """The ids that the generation config beside a tokenizer names."""
    for path in (
        [files / "generation_config.json", files.parent / "artifacts" / "generation_config.json"] if files else []
    ):
        if path.is_file():
            found = json.loads(path.read_text(encoding="utf-8"))
            return {key: found[key] for key in ("bos_token_id", "eos_token_id", "pad_token_id") if key in found}
    return {}


def folder_identity(opened: ModelFolder) -> str:
    """What tells this source from another, without reading it whole."""
    if opened.format == "hugging-face":
        return model_identity(opened.path)
    digest = hashlib.blake2b((opened.path / ".metadata").read_bytes(), digest_size=16)
    digest.update(opened.path.name.encode())  # its step
    if opened.format == "prorl":  # has checksums of its files, or of its tensors
        for name in (manifest.MANIFEST, STATE):
            digest.update((opened.path / name).read_bytes())
    for path in sorted(opened.path.glob("*.distcp")):
        digest.update(f"{path.name}:{path.stat().st_size}".encode())
    return digest.hexdigest()


def step_of(folder: ModelFolder) -> int | None:
    """The step that a checkpoint is of, where it says so."""
    if folder.format == "hugging-face":
        return None
    try:
        step = read_common(folder.path).get("iteration", folder.path.name.removeprefix("iter_"))
        return int(step)
    except (ProRLError, ValueError, TypeError):
        return None


def _unknown(path: Path) -> str:
    if not path.exists():
        return f"{path} does not exist. Give {FORMATS}."
    if path.suffix == ".nemo" or (path / "model_config.yaml").is_file():
        return f"{path} is a NeMo 1 model (.nemo), which is not read. Convert it to NeMo 2 with NeMo first."
    found = ", ".join(sorted(entry.name for entry in path.iterdir())[:8]) if path.is_dir() else "a file"
    if path.is_dir() and any(path.rglob("mp_rank_*")):
        return (
            f"{path} is in Megatron-LM's old format, a file a rank (mp_rank_...), which is not read. Let Megatron-LM "
            "write it anew with --ckpt-convert-format torch_dist."
        )
    return f"{path} is no model folder that we know; it holds {found or 'nothing'}. Give {FORMATS}."
