"""Hugging Face model folders, read: tensors come one by one, by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.mapping import Operation, hf_parts
from nemo_prorl.weights.reused_memory import Empty, fresh
from nemo_prorl.weights.safetensors_file import CODES, TORCH_DTYPES, data_begins, raw_bytes

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


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
        self._places: dict[str, tuple[Path, int]] = {}  # tensor name -> the same file, and where its bytes begin
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
            begins = data_begins(path)
            for name in file.keys():  # noqa: SIM118, no mapping
                self._files.setdefault(name, file)
                self._places.setdefault(name, (path, begins[name]))
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

    def read(self, name: str, operation: Operation, empty: Empty = fresh) -> list[Tensor]:
        """The tensors that `operation` is made of, in memory from `empty`: that of mapped ones would add up to a file.

        `name`, Megatron's, is what other readers need. Several threads may ask at once.

        Raises:
            WeightsError: a file has become shorter.
        """
        return [self._copied(hf_name, empty) for hf_name in operation.hf_names]

    def _copied(self, name: str, empty: Empty) -> Tensor:
        tensor = empty(self.shape(name), self.dtype(name))
        path, begin = self._places[name]
        with path.open("rb", buffering=0) as file:
            file.seek(begin)
            memory, done = raw_bytes(tensor), 0
            while done < len(memory):
                if not (count := file.readinto(memory[done:])):
                    raise WeightsError(f"{path} ends in the middle of {name}; download it again.")
                done += count
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
