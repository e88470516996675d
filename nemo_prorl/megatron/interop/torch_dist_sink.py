"""A model's tensors written as a torch_dist checkpoint, without building the model.

Each thread appends to a file of its own. A tensor is stored in the pieces that the ranks of tensor parallelism will
read; a reader in any other layout puts them together. All layers of one kind are one tensor, under Transformer
Engine's names, as Megatron Core, Megatron-LM, Megatron-Bridge and NeMo 2 have it.
"""

from __future__ import annotations

import io
import pickle
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor
from torch.distributed.checkpoint.filesystem import _StorageInfo
from torch.distributed.checkpoint.metadata import (
    BytesStorageMetadata,
    ChunkStorageMetadata,
    Metadata,
    MetadataIndex,
    StorageMeta,
    TensorProperties,
    TensorStorageMetadata,
)

from nemo_prorl.megatron import manifest
from nemo_prorl.megatron.interop.stored_tensors import LAYERS
from nemo_prorl.megatron.interop.tensor_archive import write_tensor
from nemo_prorl.megatron.names import TRANSFORMER_ENGINE_NAMES
from nemo_prorl.weights.architecture import Architecture, Dtype
from nemo_prorl.weights.conversion import exported
from nemo_prorl.weights.mapping import Operation
from nemo_prorl.weights.safetensors_file import TORCH_DTYPES, byte_size

FORMAT = {
    "sharded_backend": "torch_dist",
    "sharded_backend_version": 1,
    "common_backend": "torch",
    "common_backend_version": 1,
}
ARCHIVE_BYTES = 1500  # what a piece takes beside its values, roughly
# Modules of Transformer Engine that ask for a state of their own, which is empty unless they compute in FP8.
_STATEFUL_IN_LAYERS = (
    "self_attention.linear_qkv",
    "self_attention.linear_proj",
    "self_attention.core_attention",
    "mlp.linear_fc1",
    "mlp.linear_fc2",
)
_STATEFUL_NORMS = ("self_attention.q_layernorm", "self_attention.k_layernorm")


class TorchDistSink:
    """The tensors of a checkpoint in `folder` while they are written; several threads may write at once.

    `prefix` stands before every name. `tp_size` says for which ranks pieces are cut; any others can read them too.
    """

    def __init__(
        self,
        folder: Path,
        architecture: Architecture,
        dtype: Dtype,
        *,
        padded_vocab: int,
        tp_size: int,
        max_file_bytes: int,
        prefix: str = "",
    ) -> None:
        self._folder, self._architecture, self._dtype = folder, architecture, dtype
        self._padded_vocab, self._tp_size, self._prefix = padded_vocab, tp_size, prefix
        self._max_file_bytes = max_file_bytes
        self._own, self._lock, self._next = threading.local(), threading.Lock(), 0
        self._opened: list[BinaryIO] = []

    @property
    def needs_bytes(self) -> int:
        """Bytes of the whole checkpoint, a little more than less."""
        shapes = [operation.shape(self._padded_vocab) for operation in exported(self._architecture).values()]
        return sum(byte_size(shape, self._dtype) + 2 * self._tp_size * ARCHIVE_BYTES for shape in shapes)

    def begin(self, done: Mapping[str, Any]) -> None:
        """Make the folder. Files of an earlier attempt are cut to what is done, and not written to again."""
        self._folder.mkdir(parents=True, exist_ok=True)
        ends: dict[str, int] = {}
        for facts in done.values():
            ends[facts["file"]] = max(ends.get(facts["file"], 0), facts["pieces"][-1][2] + facts["pieces"][-1][3])
        for path in self._folder.glob("*.distcp"):
            if path.name in ends:
                with path.open("r+b") as file:
                    file.truncate(ends[path.name])
            else:
                path.unlink()
        self._next = 1 + max((int(name.split("_")[3].split(".")[0]) for name in ends), default=-1)

    def write(self, name: str, operation: Operation, tensors: Sequence[Tensor]) -> dict[str, Any]:
        """Append the tensor's pieces to this thread's file; where each of them is."""
        file = self._file()
        pieces = []
        for offsets, piece in operation.pieces(tensors, self._tp_size, self._padded_vocab):
            layer = _layer(name)
            place = write_tensor(file, piece if layer is None else piece.unsqueeze(0))
            pieces.append([offsets, tuple(piece.shape), *place])
        file.flush()
        return {"file": Path(file.name).name, "pieces": pieces}

    def finish(self, done: Mapping[str, Any]) -> None:
        """Write what says where all tensors are, and get everything onto the disk."""
        states = self._write_states()
        for file in self._opened:
            file.close()
        metadata = self._metadata(done, states)
        (self._folder / ".metadata").write_bytes(pickle.dumps(metadata))
        for path in (*self._folder.glob("*.distcp"), self._folder / ".metadata"):
            manifest.sync(path)

    def _file(self) -> BinaryIO:
        """This thread's file; a new one when it has none, or one that is full."""
        file: BinaryIO | None = self._own.__dict__.get("file")
        if file is None or file.tell() >= self._max_file_bytes:
            with self._lock:
                number, self._next = self._next, self._next + 1
                file = (self._folder / f"__0_{number}.distcp").open("w+b")
                self._opened.append(file)
            self._own.file = file
        return file

    def _metadata(self, done: Mapping[str, Any], states: dict[MetadataIndex, _StorageInfo]) -> Metadata:
        entries: dict[str, Any] = {index.fqn: BytesStorageMetadata() for index in states}
        storage: dict[MetadataIndex, Any] = dict(states)
        for name, operation in exported(self._architecture).items():
            key, layer = self._key(name), _layer(name)
            shape = operation.shape(self._padded_vocab)
            if layer is not None:
                shape = (self._architecture.num_layers, *shape)
            properties = TensorProperties(dtype=TORCH_DTYPES[self._dtype])
            entry = entries.setdefault(key, TensorStorageMetadata(properties, torch.Size(shape), []))
            for offsets, sizes, offset, length in done[name]["pieces"]:
                where = torch.Size(offsets if layer is None else (layer, *offsets))
                entry.chunks.append(ChunkStorageMetadata(where, torch.Size(sizes if layer is None else (1, *sizes))))
                index = MetadataIndex(key, where, len(entry.chunks) - 1)
                storage[index] = _StorageInfo(done[name]["file"], offset, length)
        saved = StorageMeta(save_id=str(uuid.uuid4()))
        return Metadata(entries, storage_data=storage, storage_meta=saved, version="1.0.0")

    def _write_states(self) -> dict[MetadataIndex, _StorageInfo]:
        """The empty states that Megatron's modules ask for when they load."""
        empty = io.BytesIO()
        torch.save([None], empty)
        file, places = self._file(), {}
        for key, number, count in state_places(self._architecture):
            index = MetadataIndex(f"{self._prefix}{key}/shard_{number}_{count}")
            places[index] = _StorageInfo(Path(file.name).name, file.tell(), len(empty.getvalue()))
            file.write(empty.getvalue())
        return places

    def _key(self, name: str) -> str:
        """The name that a tensor is stored under."""
        for te_name, local_name in TRANSFORMER_ENGINE_NAMES.items():
            name = name.replace(local_name, te_name)
        return self._prefix + (LAYERS + name.split(".", 3)[3] if name.startswith(LAYERS) else name)


def state_places(architecture: Architecture) -> Iterator[tuple[str, int, int]]:
    """(key, number, how many) of every state that modules of Transformer Engine keep beside their parameters."""
    modules = _STATEFUL_IN_LAYERS + (_STATEFUL_NORMS if architecture.qk_norm else ())
    for layer in range(architecture.num_layers):
        yield from ((f"{LAYERS}{module}._extra_state", layer, architecture.num_layers) for module in modules)
    yield "decoder.final_layernorm._extra_state", 0, 1


def _layer(name: str) -> int | None:
    return int(name.removeprefix(LAYERS).split(".", 1)[0]) if name.startswith(LAYERS) else None
