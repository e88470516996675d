"""Everything of a converted checkpoint that isn't tensors, in prorl's folder and in NeMo's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch

from nemo_prorl.megatron import checkpoint_folder, manifest
from nemo_prorl.megatron.interop.model_folder import ModelFolder
from nemo_prorl.megatron.interop.neighbours import (
    COMMON,
    CONTENT,
    LATEST_TRAIN_STATE,
    TOKENIZER,
    TRAIN_STATE,
    bridge_files,
    megatron_lm_entries,
)
from nemo_prorl.megatron.interop.nemo_context import write_context
from nemo_prorl.megatron.interop.torch_dist_sink import FORMAT
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.hf_writer import carry, write_config

CHECKSUMS = "checksums.json"


def write_prorl_beside(
    folder: Path,
    source: ModelFolder,
    architecture: Architecture,
    padded_vocab: int,
    step: int,
    checksums: Mapping[str, int],
) -> None:
    """What prorl, Megatron-LM and Megatron-Bridge want beside the tensors in the checkpoint `folder`.

    `checksums`: CRC-32 of each tensor in Hugging Face's terms, kept for whoever wants to compare.
    """
    common = {"content_metadata": dict(CONTENT), **megatron_lm_entries(architecture, padded_vocab, step)}
    _write_format(folder, common)
    for name, content in bridge_files(architecture, padded_vocab, step).items():
        (folder / name).write_bytes(content)
    _write_model_files(folder / TOKENIZER, source, architecture)
    # No layout of ranks is like this one: nobody goes on from random states that there aren't.
    own = {"step": step, "updates": 0, "layout": None, "state": {"source": source.path.resolve().name}}
    (folder / checkpoint_folder.STATE).write_text(json.dumps(own, indent=1), encoding="utf-8")
    (folder / CHECKSUMS).write_text(json.dumps(dict(checksums), indent=0), encoding="utf-8")
    (folder.parent / checkpoint_folder.LATEST).write_text(f"{step}\n", encoding="utf-8")
    (folder.parent / LATEST_TRAIN_STATE).write_bytes((folder / TRAIN_STATE).read_bytes())
    _seal(folder)


def write_nemo_beside(folder: Path, source: ModelFolder, architecture: Architecture, step: int) -> None:
    """What NeMo 2 wants beside the tensors in `folder`, its weights/. Before them: it is NeMo that may fail."""
    context = folder.parent / "context"
    shutil.rmtree(context, ignore_errors=True)  # of an attempt that was killed
    folder.mkdir(parents=True, exist_ok=True)
    _write_format(folder, {"content_metadata": dict(CONTENT), "global_step": step, "state_dict": {}})
    _write_model_files(context / "nemo_tokenizer", source, architecture)
    write_context(context, architecture)
    for path in context.rglob("*"):
        manifest.sync(path)


def _seal(folder: Path) -> None:
    """Get everything onto the disk and list it. Not the tensors' files: every tensor in them carries its checksum."""
    listed = [name for name in manifest.files_of(folder) if not name.endswith(".distcp")]
    manifest.write(folder, {name: manifest.fingerprint(folder / name) for name in listed})


def _write_format(folder: Path, common: Mapping[str, object]) -> None:
    torch.save(dict(common), folder / COMMON)
    (folder / "metadata.json").write_text(json.dumps(FORMAT), encoding="utf-8")


def _write_model_files(folder: Path, source: ModelFolder, architecture: Architecture) -> None:
    """All of the model but its weights, as Hugging Face has it."""
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, source.config, architecture.dtype)
    if source.files is not None:
        carry(source.files, folder)
