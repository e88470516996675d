"""What `prorl convert` does: a model folder of any format written as another, whatever its size."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from math import lcm
from pathlib import Path
from typing import Literal

from nemo_prorl.errors import ConfigError
from nemo_prorl.megatron.interop.converted import write_nemo_beside, write_prorl_beside
from nemo_prorl.megatron.interop.model_folder import (
    ModelFolder,
    folder_identity,
    open_folder,
    read_state,
    step_of,
)
from nemo_prorl.megatron.interop.nemo_context import check_nemo
from nemo_prorl.megatron.interop.stored_tensors import StoredTensors
from nemo_prorl.megatron.interop.torch_dist_sink import TorchDistSink
from nemo_prorl.weights.architecture import Architecture, Dtype
from nemo_prorl.weights.conversion import convert, verify
from nemo_prorl.weights.hf_folder import TensorReader
from nemo_prorl.weights.hf_writer import SafetensorsSink, write_companions, write_config
from nemo_prorl.weights.model_card import CARD, base_model_of, model_card
from nemo_prorl.weights.tokenizer_size import check_tokenizer
from nemo_prorl.weights.training_card import training_card
from nemo_prorl.weights.work_folder import WorkFolder, work_folder

Watch = Callable[[Iterator[str], str], Iterator[str]]
MegatronFormat = Literal["megatron", "nemo"]


@dataclass(frozen=True)
class MegatronLayout:
    """How a torch_dist checkpoint is to be stored.

    Any layout of ranks can load any of them. `tensor_parallel_size` only says for which one the pieces are cut, so
    that each rank reads its own and no more. The padded vocabulary must be that of who loads it.
    """

    format: MegatronFormat = "megatron"
    dtype: Dtype | None = None
    vocabulary_multiple: int = 128
    tensor_parallel_size: int = 1
    max_file_bytes: int = 5_000_000_000


def to_megatron(source: Path, destination: Path, layout: MegatronLayout, *, like: Path | None, watch: Watch) -> Path:
    """Write any model folder as a torch_dist checkpoint; returns the path of the checkpoint.

    bf16 stays bf16, fp32 and fp16 become fp32, which holds both, unless the layout says otherwise.

    Raises:
        CheckpointError, WeightsError: the source is no model that we know whole; `destination` is not empty or can't
            be written; a tokenizer is not the model's.
    """
    opened = open_folder(source, like)
    stored_as = layout.dtype or ("bf16" if opened.architecture.dtype == "bf16" else "fp32")
    target = replace(opened.architecture, dtype=stored_as)
    tp_size = layout.tensor_parallel_size
    _check_tensor_parallel(target, tp_size)
    padded_vocab = target.padded_vocab(lcm(layout.vocabulary_multiple, tp_size))
    if opened.files is not None:
        check_tokenizer(opened.files, target.vocab_size)
    if layout.format == "nemo":
        check_nemo()
    step = step_of(opened) or 0
    inside = "weights" if layout.format == "nemo" else f"iter_{step:07d}"
    sink_for = _sink(target, padded_vocab, layout)
    job = {"to": layout.format, "layout": repr(layout), "source": folder_identity(opened), "architecture": repr(target)}
    with (
        opened.tensors() as reader,
        work_folder(destination, job=job, needs_bytes=sink_for(Path()).needs_bytes) as work,
    ):
        folder = work.path / inside
        if layout.format == "nemo":
            write_nemo_beside(folder, opened, target, step)
        checksums = convert(
            reader, sink_for(folder), target, stored_as, work, lambda names: watch(names, "tensors written")
        )
        verify(
            StoredTensors(folder, checked=False),
            target,
            checksums,
            work,
            lambda names: watch(names, "tensors looked at again"),
        )
        if layout.format == "megatron":
            write_prorl_beside(folder, opened, target, padded_vocab, step, checksums)
    return destination / inside


def to_hugging_face(
    source: Path,
    destination: Path,
    *,
    like: Path | None,
    dtype: Dtype | None,
    max_shard_bytes: int,
    overwrite: bool,
    watch: Watch,
) -> Path:
    """Write any model folder as a Hugging Face folder; returns the path of the checkpoint that was taken.

    The weights have `dtype`; None: that of the model's config.

    Raises:
        CheckpointError, WeightsError: as for `to_megatron`.
    """
    opened = open_folder(source, like)
    stored_as: Dtype = dtype or Architecture.from_hf_config(opened.config, where=str(opened.path)).dtype
    target = replace(opened.architecture, dtype=stored_as)
    if opened.files is not None:
        check_tokenizer(opened.files, target.vocab_size)
    job = {"to": "hugging-face", "dtype": stored_as, "shards": max_shard_bytes, "source": folder_identity(opened)}
    needs_bytes = SafetensorsSink(Path(), target, stored_as, max_shard_bytes).data_bytes
    with (
        opened.tensors() as reader,
        work_folder(destination, job=job, needs_bytes=needs_bytes, overwrite=overwrite) as work,
    ):
        sink = SafetensorsSink(work.path, target, stored_as, max_shard_bytes)
        checksums = convert(reader, sink, target, stored_as, work, lambda names: watch(names, "tensors written"))
        _write_what_is_not_weights(work, opened, stored_as, destination)
        with TensorReader(work.path) as written:
            written.check(target)
            verify(written, target, checksums, work, lambda names: watch(names, "tensors looked at again"))
    return opened.path


def _write_what_is_not_weights(work: WorkFolder, opened: ModelFolder, dtype: Dtype, destination: Path) -> None:
    """config.json, tokenizer, generation config and model card."""
    write_config(work.path, opened.config, dtype)
    artifacts = opened.path.parent / "context" / "artifacts"  # where NeMo keeps the generation config
    write_companions(work.path, opened.config, *[folder for folder in (opened.files, artifacts) if folder is not None])
    (work.path / CARD).write_text(_card(destination.name, opened), encoding="utf-8")


def _card(title: str, opened: ModelFolder) -> str:
    """What is known of how the checkpoint came about."""
    own = read_state(opened.path) if opened.format == "prorl" else {}
    state = own.get("state", {})
    if "settings" in state:
        return training_card(title, state["command"], state["settings"], opened.config, steps=own["step"])
    base = base_model_of(opened.files or opened.path, opened.config)
    if opened.files is None or opened.files.is_relative_to(opened.path) or opened.format == "nemo":
        base = opened.path.resolve().parent.name  # all that is known: the folder of the checkpoints
    if "source" in state:
        return model_card(title, state["source"], "Converted to Megatron's format and back; no training between.", {})
    story = f"Converted from a checkpoint in {opened.format} format; how that came about isn't known here."
    return model_card(title, base, story, {})


def _sink(target: Architecture, padded_vocab: int, layout: MegatronLayout) -> Callable[[Path], TorchDistSink]:
    return lambda folder: TorchDistSink(
        folder,
        target,
        target.dtype,
        padded_vocab=padded_vocab,
        tp_size=layout.tensor_parallel_size,
        max_file_bytes=layout.max_file_bytes,
        prefix="module." if layout.format == "nemo" else "",
    )


def _check_tensor_parallel(architecture: Architecture, tp_size: int) -> None:
    for what, count in (
        ("attention heads", architecture.num_heads),
        ("key-value heads", architecture.num_kv_heads),
        ("feed-forward units", architecture.ffn_size),
    ):
        if count % tp_size:
            raise ConfigError(
                f"--tensor-parallel {tp_size} does not divide the model's {count} {what}; choose a divisor."
            )
