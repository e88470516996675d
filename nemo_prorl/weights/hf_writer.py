"""Hugging Face model folders, written: one tensor at a time, in any order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.architecture import DTYPES, Architecture, Dtype, read_hf_config
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.hf_config import generation_config_of
from nemo_prorl.weights.hf_folder import INDEX, SINGLE
from nemo_prorl.weights.mapping import Operation, Part, hf_parts
from nemo_prorl.weights.model_card import CARD
from nemo_prorl.weights.new_folder import new_folder
from nemo_prorl.weights.safetensors_file import SafetensorsFile, byte_size

# Files beside the weights that belong to a model whatever its weights are.
CARRIED = (
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template.jinja",
    "chat_template.json",
    "LICENSE*",
    "NOTICE*",
)


def write_hf_folder(
    folder: str | Path,
    stream: Iterable[tuple[str, Tensor]],
    *,
    like: str | Path,
    dtype: Dtype | None = None,
    max_shard_bytes: int = 5_000_000_000,
    overwrite: bool = False,
    card: str | None = None,
) -> None:
    """Write the tensors of `stream`, in any order, as a model folder; all but the weights comes from the model `like`.

    `card` is the model card's text. The tensors are converted to `dtype` (None: that of `like`). One tensor is held at
    a time. The stream is taken to its end even when something is wrong, because other ranks may be giving it together
    with this one.

    Raises:
        WeightsError: `like` is no model, the folder is not empty, the disk is full, or the stream doesn't give exactly
            the model's tensors (all are listed); then nothing is left behind.
    """
    remaining = iter(stream)
    try:
        config = read_hf_config(like)
        architecture = Architecture.from_hf_config(config, where=str(Path(like) / "config.json"))
        dtype = dtype or architecture.dtype
        parts = tuple(hf_parts(weight_map(architecture)))
        needs_bytes = sum(byte_size(part.shape, dtype) for part in parts)
        with new_folder(folder, needs_bytes=needs_bytes, overwrite=overwrite) as partial:
            write_config(partial, config, dtype)
            write_companions(partial, config, Path(like))
            if card is not None:
                (partial / CARD).write_text(card, encoding="utf-8")
            files = _planned_files(partial, parts, dtype, max_shard_bytes)
            _write_tensors(remaining, files)
            _write_index(partial, files, needs_bytes)
    except Exception:
        for _ in remaining:
            pass
        raise


class SafetensorsSink:
    """A model folder's weights while they are written; several threads may write at once."""

    def __init__(self, folder: Path, architecture: Architecture, dtype: Dtype, max_shard_bytes: int) -> None:
        self.parts = tuple(hf_parts(weight_map(architecture)))
        self.files = _planned_files(folder, self.parts, dtype, max_shard_bytes)
        self._folder = folder
        self._places: dict[str, tuple[SafetensorsFile, int]] = {}

    @property
    def data_bytes(self) -> int:
        """Bytes of all tensors."""
        return sum(file.data_bytes for file in self.files)

    def begin(self, done: Mapping[str, Any]) -> None:
        """Make room for every tensor; files that hold what was `done` before stay."""
        for file in self.files:
            starts = file.starts() if done and file.is_created() else file.create()
            self._places |= {name: (file, start) for name, start in starts.items()}

    def write(self, name: str, operation: Operation, tensors: Sequence[Tensor]) -> dict[str, Any]:
        """Put the tensors in their places; there is nothing to remember about it."""
        for hf_name, tensor in zip(operation.hf_names, tensors, strict=True):
            file, start = self._places[hf_name]
            file.put(tensor, start)
        return {}

    def finish(self, done: Mapping[str, Any]) -> None:
        """Return when everything is on the disk."""
        for file in self.files:
            file.flush_to_disk()
        _write_index(self._folder, self.files, self.data_bytes)


def _planned_files(folder: Path, parts: Sequence[Part], dtype: Dtype, max_shard_bytes: int) -> list[SafetensorsFile]:
    """Consecutive tensors share a file as long as they fit; one that is larger than a file may be has its own."""
    shards: list[list[Part]] = [[]]
    held = 0
    for part in parts:
        size = byte_size(part.shape, dtype)
        if shards[-1] and held + size > max_shard_bytes:
            shards.append([])
            held = 0
        shards[-1].append(part)
        held += size
    names = [f"model-{number:05d}-of-{len(shards):05d}.safetensors" for number in range(1, len(shards) + 1)]
    paths = [folder / name for name in (names if len(shards) > 1 else [SINGLE])]
    return [SafetensorsFile(path, tuple(shard), dtype) for path, shard in zip(paths, shards, strict=True)]


def _write_tensors(stream: Iterable[tuple[str, Tensor]], files: Sequence[SafetensorsFile]) -> None:
    places = {name: (file, start) for file in files for name, start in file.create().items()}
    missing = {part.name: part.shape for file in files for part in file.parts}
    problems = []
    for name, tensor in stream:
        shape = missing.pop(name, None)
        if shape is None:
            problems.append(f"{name} {list(tensor.shape)} {'came twice' if name in places else 'is unknown'}")
        elif tuple(tensor.shape) != shape:
            problems.append(f"{name} is {list(tensor.shape)}, expected {list(shape)}")
        else:
            file, start = places[name]
            file.put(tensor, start)
    problems += [f"{name} is missing" for name in missing]
    if problems:
        listed = "\n  ".join(problems)
        raise WeightsError(
            f"the weights don't fit the config.json to be written with them ({len(problems)} problems):\n  {listed}\n"
            "Name the folder that the model came from."
        )
    for file in files:
        file.flush_to_disk()


def _write_index(folder: Path, files: Sequence[SafetensorsFile], total_size: int) -> None:
    if len(files) > 1:
        held_by = {part.name: file.path.name for file in files for part in file.parts}
        index = {"metadata": {"total_size": total_size}, "weight_map": held_by}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def write_config(folder: Path, config: dict[str, Any], dtype: Dtype) -> None:
    """The config, with the new dtype under the key that it has: `dtype` (transformers 5) or `torch_dtype`."""
    spelled = next(name for name, known in DTYPES.items() if known == dtype)
    key = "torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"
    text = json.dumps(config | {key: spelled}, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def write_companions(folder: Path, config: Mapping[str, Any], *sources: Path) -> None:
    """Carry the files of the sources, and see that there is a generation config: one that names the config's ids."""
    for source in sources:
        carry(source, folder)
    path = folder / "generation_config.json"
    if not path.is_file():
        path.write_text(json.dumps(generation_config_of(config), indent=2) + "\n", encoding="utf-8")


def carry(source: Path, folder: Path) -> None:
    """Copy what belongs to a model whatever its weights are."""
    for pattern in CARRIED:
        for path in source.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
