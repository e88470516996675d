"""One tensor in the format of `torch.save`, written and read without a second copy of it in memory.

A torch_dist checkpoint's *.distcp files are such archives, one after the other: zip files that store data.pkl, which
says what the tensor looks like, and data/0, its bytes. Their CRC-32 is the tensor's checksum. `torch.save` copies a
tensor's bytes before it writes them, and `torch.load` the archive's before it reads them.
"""

from __future__ import annotations

import io
import pickle
import zipfile
from collections import OrderedDict
from typing import IO, Any, BinaryIO, NamedTuple

import torch
from isal import isal_zlib
from torch import Tensor

from nemo_prorl.megatron.interop.plain_pickle import plain_loads
from nemo_prorl.weights.safetensors_file import raw_bytes

_ROOT = "archive"
_STORAGES = {
    torch.float32: torch.FloatStorage,
    torch.bfloat16: torch.BFloat16Storage,
    torch.float16: torch.HalfStorage,
}
_DTYPES = {storage.__name__: dtype for dtype, storage in _STORAGES.items()}


class Place(NamedTuple):
    """Where an archive lies in its file, in bytes."""

    offset: int
    length: int


def write_tensor(file: BinaryIO, tensor: Tensor) -> Place:
    """Append a tensor's archive to `file`, which is at its end."""
    offset = file.tell()
    plain = tensor.detach().contiguous()
    with zipfile.ZipFile(_Rest(file, offset), "w", zipfile.ZIP_STORED) as archive:  # type: ignore[call-overload]
        _put(archive, "data.pkl", _described(plain))
        _put(archive, "byteorder", b"little")
        _put(archive, "data/0", raw_bytes(plain))
        _put(archive, "version", b"3\n")
    return Place(offset, file.tell() - offset)


def read_tensor(file: BinaryIO, place: Place, into: Tensor | None = None, *, checked: bool = True) -> Tensor:
    """The tensor whose archive lies at `place`: in `into`, contiguous and of its size, or in memory of its own.

    `checked`: compare its bytes with their checksum; whoever compares them with another one needn't.

    Raises:
        ValueError: there is no whole archive of a plain tensor there, or its bytes are not those that were written.
    """
    try:
        with zipfile.ZipFile(_Window(file, place)) as archive:  # type: ignore[arg-type]
            entries = {entry.filename.partition("/")[2]: entry for entry in archive.infolist()}
            layout = plain_loads(archive.read(entries["data.pkl"]), persistent=lambda key: key)
            storage, begin, shape, stride = layout.arguments[:4]
            dtype = _DTYPES[storage[1].name]
            if into is None or into.dtype != dtype or not into.is_contiguous() or tuple(stride) != into.stride():
                into = None
            flat = _read_flat(file, place, entries[f"data/{storage[2]}"], dtype, into, checked)
    except (zipfile.BadZipFile, KeyError, AttributeError, EOFError, pickle.UnpicklingError, OSError) as error:
        raise ValueError(f"no whole tensor at byte {place.offset} ({type(error).__name__}: {error})") from error
    return flat.as_strided(tuple(shape), tuple(stride), flat.storage_offset() + begin)


def _read_flat(
    file: BinaryIO, place: Place, entry: zipfile.ZipInfo, dtype: torch.dtype, into: Tensor | None, checked: bool
) -> Tensor:
    if entry.compress_type != zipfile.ZIP_STORED or entry.header_offset + entry.file_size > place.length:
        raise ValueError(f"the tensor at byte {place.offset} is compressed or cut off")
    file.seek(place.offset + entry.header_offset + 26)
    name, extra = (int.from_bytes(file.read(2), "little") for _ in range(2))
    file.seek(name + extra, io.SEEK_CUR)
    count = entry.file_size // dtype.itemsize
    flat = torch.empty(count, dtype=dtype) if into is None or into.numel() != count else into.view(-1)
    memory = raw_bytes(flat)
    if file.readinto(memory) != entry.file_size:  # type: ignore[attr-defined]
        raise ValueError(f"the tensor at byte {place.offset} is cut off")
    if checked and isal_zlib.crc32(memory) != entry.CRC:
        raise ValueError(f"the tensor at byte {place.offset} has other bytes than were written (checksum)")
    return flat


def _put(archive: zipfile.ZipFile, name: str, content: bytes | memoryview) -> None:
    entry = zipfile.ZipInfo(f"{_ROOT}/{name}")
    entry.file_size = len(content)  # tells zipfile whether 32 bits are enough for it
    with archive.open(entry, "w") as record:
        record.write(content)


def _described(tensor: Tensor) -> bytes:
    """What `torch.save` writes about a tensor. Protocol 2, as torch does: its careful loader reads no other."""
    buffer = io.BytesIO()
    _TensorPickler(buffer, protocol=2).dump(_Layout(tensor))
    return buffer.getvalue()


class _Layout:
    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor

    def __reduce__(self) -> Any:
        stride, rebuild = self.tensor.stride(), torch._utils._rebuild_tensor_v2
        return rebuild, (_Storage(self.tensor), 0, tuple(self.tensor.shape), stride, False, OrderedDict())


class _Storage:
    def __init__(self, tensor: Tensor) -> None:
        self.key = ("storage", _STORAGES[tensor.dtype], "0", "cpu", tensor.numel())


class _TensorPickler(pickle.Pickler):
    def persistent_id(self, thing: Any) -> Any:
        return thing.key if isinstance(thing, _Storage) else None


class _Rest:
    """A file from `begin` on, as if it began there, to write: what an archive says of places is relative to it."""

    def __init__(self, file: BinaryIO, begin: int) -> None:
        self._file, self._begin = file, begin
        self.write, self.flush = file.write, file.flush

    def tell(self) -> int:
        return self._file.tell() - self._begin

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._file.seek(offset + (self._begin if whence == io.SEEK_SET else 0), whence) - self._begin


class _Window(io.RawIOBase):
    """A part of a file that looks like a file of its own, to read."""

    def __init__(self, file: IO[bytes], place: Place) -> None:
        self._file, self._place, self._at = file, place, 0

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._place.length}[whence]
        if self._at < 0:
            raise OSError("before the archive's beginning")
        return self._at

    def readinto(self, memory: Any) -> int:
        wanted = max(0, min(len(memory), self._place.length - self._at))
        self._file.seek(self._place.offset + self._at)
        content = self._file.read(wanted)
        memory[: len(content)] = content
        self._at += len(content)
        return len(content)
