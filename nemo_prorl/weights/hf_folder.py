"""Hugging Face model folders: tensors are read one by one by name, and written one by one as they come."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.architecture import DTYPES, Architecture, Dtype, read_hf_config
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.mapping import Part, hf_parts
from nemo_prorl.weights.new_folder import new_folder
from nemo_prorl.weights.safetensors_file import CODES, TORCH_DTYPES, SafetensorsFile, byte_size

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"

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


class TensorReader:
    """The tensors of a model folder, whole or in shards, each read when it is asked for.

    Tensors are mapped from the file, not copied; a file must not change while its tensors are in use.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open every shard and read its header.

        Raises:
            WeightsError: the folder has no safetensors, or shards are missing or damaged; all of them are listed.
        """
        self.folder = Path(folder)
        self._files: dict[str, Any] = {}  # tensor name -> the open file that holds it
        problems = []
        for path in _shards(self.folder):
            if not path.is_file():
                problems.append(f"{path.name} is missing")
                continue
            try:
                file: Any = safe_open(path, framework="pt")
            except (SafetensorError, OSError) as error:
                problems.append(f"{path.name} ({path.stat().st_size} bytes) is damaged: {error}")
                continue
            self._files |= {name: file for name in file.keys() if name not in self._files}  # noqa: SIM118, no mapping
        if problems:
            raise WeightsError(f"{self.folder}: {'; '.join(problems)}. Download these files again (git lfs pull?).")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors in the folder."""
        return tuple(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return tuple(self._file(name).get_slice(name).get_shape())

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor, without reading it.

        Raises:
            WeightsError: the tensor is quantised.
        """
        code = self._file(name).get_slice(name).get_dtype()
        for dtype, known in CODES.items():
            if code == known:
                return TORCH_DTYPES[dtype]
        raise WeightsError(f"{self.folder}: {name} is {code}; only plain {', '.join(CODES.values())} can be read")

    def get(self, name: str) -> Tensor:
        """The tensor, on the CPU."""
        tensor: Tensor = self._file(name).get_tensor(name)
        return tensor

    def check(self, architecture: Architecture) -> None:
        """See that the folder holds exactly the tensors of such a model.

        Raises:
            WeightsError: tensors are missing, unknown, misshapen or quantised; all of them are listed.
        """
        expected = {part.name: part.shape for part in hf_parts(weight_map(architecture))}
        problems = [f"{name} is missing" for name in expected if name not in self._files]
        for name in self.names:
            if name not in expected and not self._is_harmless(name, architecture):
                problems.append(f"{name} {list(self.shape(name))} is unknown")
            elif name in expected and self.shape(name) != expected[name]:
                problems.append(f"{name} is {list(self.shape(name))}, expected {list(expected[name])}")
            elif name in expected and self._file(name).get_slice(name).get_dtype() not in CODES.values():
                problems.append(f"{name} is {self._file(name).get_slice(name).get_dtype()}, expected plain floats")
        if problems:
            listed = "\n  ".join(problems)
            raise WeightsError(
                f"{self.folder}: the tensors don't fit config.json ({len(problems)} problems):\n  {listed}\n"
                "Download the model again, or give the folder that this config.json belongs to."
            )

    def close(self) -> None:
        """Let go of the files; tensors that were read stay valid."""
        self._files = {}

    def __enter__(self) -> TensorReader:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _file(self, name: str) -> Any:
        if name not in self._files:
            raise WeightsError(f"{self.folder} has no tensor {name!r}; it has {len(self._files)} others")
        return self._files[name]

    def _is_harmless(self, name: str, architecture: Architecture) -> bool:
        """Whether a tensor that the model doesn't have may be left aside: old exports repeat what is known anyway."""
        if name.endswith(".rotary_emb.inv_freq"):
            return True
        embeddings = "model.embed_tokens.weight"
        return (
            name == "lm_head.weight"
            and architecture.tied_embeddings
            and embeddings in self._files
            and torch.equal(self.get(name), self.get(embeddings))
        )


def stream(folder: str | Path) -> Iterator[tuple[str, Tensor]]:
    """(name, tensor) of every tensor of the model in `folder`, in the order in which every stream of weights comes.

    Raises:
        WeightsError: the model is not supported, or the folder doesn't hold exactly its tensors.
    """
    architecture = Architecture.read(folder)
    with TensorReader(folder) as reader:
        reader.check(architecture)
        for part in hf_parts(weight_map(architecture)):
            yield part.name, reader.get(part.name)


def write_hf_folder(
    folder: str | Path,
    stream: Iterable[tuple[str, Tensor]],
    *,
    like: str | Path,
    dtype: Dtype | None = None,
    max_shard_bytes: int = 5_000_000_000,
    overwrite: bool = False,
) -> None:
    """Write the tensors of `stream`, in any order, as a model folder; all but the weights comes from the model `like`.

    The tensors are converted to `dtype` (None: that of `like`). One tensor is held at a time. The stream is taken to
    its end even when something is wrong, because other ranks may be giving it together with this one.

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
            _write_config(partial, config, dtype)
            _carry(Path(like), partial)
            files = _planned_files(partial, parts, dtype, max_shard_bytes)
            _write_tensors(remaining, files)
            _write_index(partial, files, needs_bytes)
    except Exception:
        for _ in remaining:
            pass
        raise


def _shards(folder: Path) -> list[Path]:
    """The files that the folder's index names, or its only one; they may be missing."""
    index = folder / INDEX
    if index.is_file():
        try:
            files = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise WeightsError(f"{index} is damaged ({error!r}); download it again.") from error
        return [folder / name for name in sorted(files)]
    if not (folder / SINGLE).is_file():
        found = ", ".join(sorted(path.name for path in folder.glob("*"))[:8]) or "nothing"
        raise WeightsError(
            f"{folder} has neither {SINGLE} nor {INDEX}; it holds {found}. Pickled weights (*.bin) are not read: load "
            "them with transformers once and save them again with save_pretrained."
        )
    return [folder / SINGLE]


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


def _write_config(folder: Path, config: dict[str, Any], dtype: Dtype) -> None:
    """The config, with the new dtype under the key that it has: `dtype` (transformers 5) or `torch_dtype`."""
    spelled = next(name for name, known in DTYPES.items() if known == dtype)
    key = "torch_dtype" if "torch_dtype" in config and "dtype" not in config else "dtype"
    text = json.dumps(config | {key: spelled}, indent=2, ensure_ascii=False)
    (folder / "config.json").write_text(text + "\n", encoding="utf-8")


def _carry(source: Path, folder: Path) -> None:
    for pattern in CARRIED:
        for path in source.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, folder / path.name)
