"""The model in a torch_dist checkpoint, whoever wrote it: prorl, Megatron-LM, Megatron-Bridge or NeMo 2.

Their folders hold the same tensors. What differs is a prefix of the names (NeMo's is "module."), whether all layers of
one kind are one tensor, and whether two norms have Transformer Engine's names or those of Megatron's local layers.
Nothing of torch.distributed or Megatron runs here, and no pickle gets to run anything.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.distributed.checkpoint.metadata import TensorStorageMetadata

from nemo_prorl.errors import CheckpointError
from nemo_prorl.megatron.interop.plain_pickle import plain_loads
from nemo_prorl.megatron.interop.tensor_archive import Place, read_tensor
from nemo_prorl.megatron.names import TRANSFORMER_ENGINE_NAMES
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.mapping import Operation
from nemo_prorl.weights.reused_memory import Empty, fresh

EMBEDDING = "embedding.word_embeddings.weight"
LAYERS = "decoder.layers."
MODEL = ("embedding.", "decoder.", "output_layer.")  # how the names of a model's tensors begin
PREFIXES = ("", "module.")


class _Chunk(NamedTuple):
    offsets: tuple[int, ...]
    sizes: tuple[int, ...]
    file: str
    place: Place


class _Stored(NamedTuple):
    """A tensor of the checkpoint."""

    shape: tuple[int, ...]
    dtype: torch.dtype
    chunks: list[_Chunk]


class StoredTensors:
    """The tensors of a torch_dist folder, each read when it is asked for; several threads may ask at once."""

    def __init__(self, folder: Path, *, checked: bool = True) -> None:
        """Read what the checkpoint says it holds, and see that its files are as long as that takes.

        `checked`: every tensor that is read is compared with its checksum.

        Raises:
            CheckpointError: it is no torch_dist checkpoint of a language model, or files are missing or cut off.
        """
        self.folder, self._checked = folder, checked
        everything = _read_metadata(folder)
        stored = everything.state_dict_metadata
        found = [prefix for prefix in PREFIXES if isinstance(stored.get(prefix + EMBEDDING), TensorStorageMetadata)]
        if not found:
            raise CheckpointError(
                f"{folder} has no {EMBEDDING}, so it is not a language model's; it holds "
                f"{', '.join(sorted(stored)[:5])}, ..."
            )
        self.prefix = found[0]
        self.other_names = [name for name in stored if not name.startswith(tuple(self.prefix + name for name in MODEL))]
        self._refuse_what_is_cut_off(everything.storage_data)
        self._stored = dict(self._tensors(stored, everything.storage_data))
        self._files = threading.local()

    @property
    def padded_vocab(self) -> int:
        """Rows of the embeddings, padding included."""
        return self._stored[EMBEDDING].shape[0]

    @property
    def dtype(self) -> torch.dtype:
        """That of the embeddings, which is the model's."""
        return self._stored[EMBEDDING].dtype

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes by stored name, without the checkpoint's prefix."""
        return {name: tensor.shape for name, tensor in self._stored.items()}

    def dtype_of(self, name: str) -> torch.dtype:
        """That of Megatron's tensor `name`, as the weight map has it."""
        return self._stored[self._find(name)[0]].dtype

    def check(self, architecture: Architecture, like: str) -> None:
        """See that the model has exactly the tensors of `architecture`, which `like` describes.

        Megatron loads what it asks for and passes over the rest: a model without biases would drop them unseen.

        Raises:
            CheckpointError: tensors are missing, unknown or misshapen; all of them are listed.
        """
        padded_vocab = max(self.padded_vocab, architecture.vocab_size)
        known, problems = set(), []
        for name, operation in weight_map(architecture).items():
            if not operation.exported:
                continue  # a copy of tied embeddings is not stored
            key, layer = self._find(name)
            expected = operation.shape(padded_vocab)
            if layer is not None:
                expected = (architecture.num_layers, *expected)
            shape = self._stored[key].shape if key in self._stored else None
            if shape is None and key not in known:
                problems.append(f"{key} is missing")
            elif shape != expected and key not in known:
                problems.append(f"{key} is {list(shape or ())}, expected {list(expected)}")
            known.add(key)
        problems += [
            f"{key} {list(tensor.shape)} is unknown" for key, tensor in self._stored.items() if key not in known
        ]
        if problems:
            listed = "\n  ".join(problems)
            raise CheckpointError(
                f"{self.folder} is not of a model like {like} ({len(problems)} problems):\n  {listed}\n"
                "Name the Hugging Face folder that the model came from with --like."
            )

    def read(self, name: str, operation: Operation, empty: Empty = fresh) -> list[Tensor]:
        """Hugging Face's tensors that Megatron's `name`, as the weight map has it, is made of; in memory from `empty`.

        Raises:
            CheckpointError: what is stored can't be read, or differs from what was written.
        """
        key, layer = self._find(name)
        stored = self._stored[key]
        shape = stored.shape if layer is None else stored.shape[1:]
        whole = empty(shape, stored.dtype)
        filled = 0
        for chunk in stored.chunks:
            offsets, sizes = chunk.offsets, chunk.sizes
            if layer is None or offsets[0] <= layer < offsets[0] + sizes[0]:
                filled += self._fill(whole, chunk, None if layer is None else layer - offsets[0])
        if filled != whole.numel():
            raise CheckpointError(f"{self.folder}: {key} is stored in part only ({filled} of {whole.numel()} values)")
        return operation.to_hf([whole])

    def _fill(self, whole: Tensor, chunk: _Chunk, row: int | None) -> int:
        """Read a chunk, of several layers perhaps, to its place in the tensor; how many values that were."""
        offsets, sizes = (chunk.offsets, chunk.sizes) if row is None else (chunk.offsets[1:], chunk.sizes[1:])
        target = whole
        for axis, (begin, size) in enumerate(zip(offsets, sizes, strict=True)):
            target = target.narrow(axis, begin, size)
        into = target if row is None else target.unsqueeze(0)
        try:
            fits = into if chunk.sizes == into.shape else None
            tensor = read_tensor(self._open(chunk.file), chunk.place, into=fits, checked=self._checked)
        except ValueError as error:
            raise CheckpointError(
                f"{self.folder / chunk.file} is damaged: {error}. Take another checkpoint, or this one from a copy."
            ) from error
        values = tensor if row is None else tensor[row]
        if values.data_ptr() != target.data_ptr():
            target.copy_(values.reshape(target.shape))
        return target.numel()

    def _open(self, name: str) -> Any:
        """The file, opened once by every thread."""
        opened = self._files.__dict__
        if name not in opened:
            opened[name] = (self.folder / name).open("rb")
        return opened[name]

    def _find(self, name: str) -> tuple[str, int | None]:
        """The name under which Megatron's `name` is stored, and its layer where all layers are one tensor."""
        spelled = [name, *(name.replace(ours, te) for te, ours in TRANSFORMER_ENGINE_NAMES.items() if ours in name)]
        if name.startswith(LAYERS):
            for each in list(spelled):
                number, rest = each.removeprefix(LAYERS).split(".", 1)
                if each in self._stored:
                    return each, None
                if LAYERS + rest in self._stored:
                    return LAYERS + rest, int(number)
            number, rest = spelled[-1].removeprefix(LAYERS).split(".", 1)
            return LAYERS + rest, int(number)
        return name, None

    def _tensors(self, stored: dict[str, Any], storage: dict[Any, Any]) -> Iterator[tuple[str, _Stored]]:
        places = {(index.fqn, tuple(index.offset or ())): found for index, found in storage.items()}
        for name, entry in stored.items():
            own = name.removeprefix(self.prefix)
            if (
                not isinstance(entry, TensorStorageMetadata)
                or not own.startswith(MODEL)
                or own.endswith("_extra_state")
            ):
                continue
            chunks = []
            for chunk in entry.chunks:
                found = places[name, tuple(chunk.offsets)]
                place = Place(found.offset, found.length)
                chunks.append(_Chunk(tuple(chunk.offsets), tuple(chunk.sizes), found.relative_path, place))
            yield own, _Stored(tuple(entry.size), entry.properties.dtype, chunks)

    def _refuse_what_is_cut_off(self, storage: dict[Any, Any]) -> None:
        needed: dict[str, int] = {}
        for found in storage.values():
            needed[found.relative_path] = max(needed.get(found.relative_path, 0), found.offset + found.length)
        problems = []
        for name, length in sorted(needed.items()):
            path = self.folder / name
            if Path(name).name != name or not path.is_file():
                problems.append(f"{name} is missing")
            elif path.stat().st_size < length:
                problems.append(f"{name} has {path.stat().st_size} bytes instead of {length}")
        if problems:
            raise CheckpointError(
                f"{self.folder} is not a whole checkpoint: {'; '.join(problems)}. Take another, or bring it back "
                "from a copy."
            )


def _read_metadata(folder: Path) -> Any:
    try:
        return plain_loads((folder / ".metadata").read_bytes())
    except (OSError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            f"{folder} is no checkpoint in torch_dist format ({type(error).__name__}: {error}). Give one of the "
            "iter_... folders, or the folder that they lie in."
        ) from error
