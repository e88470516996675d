"""The safetensors format as far as writing needs it: where each tensor of a file lies, known before there is one.

A file is the header's length (8 bytes, little endian), the header (JSON: dtype, shape and data_offsets of each tensor),
then the tensors' bytes. With shapes known beforehand the header is written first and every tensor goes straight to its
place, so that writing holds one tensor at a time. `safetensors.torch.save_file` wants a whole file's tensors at once.
Format: https://huggingface.co/docs/safetensors.
"""

from __future__ import annotations

import itertools
import json
import math
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from nemo_prorl.weights.architecture import Dtype
from nemo_prorl.weights.mapping import Part

TORCH_DTYPES: dict[Dtype, torch.dtype] = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
CODES: dict[Dtype, str] = {"fp32": "F32", "bf16": "BF16", "fp16": "F16"}


def byte_size(shape: Iterable[int], dtype: Dtype) -> int:
    """Bytes of a tensor."""
    return raw_size(shape, TORCH_DTYPES[dtype])


def raw_size(shape: Iterable[int], dtype: torch.dtype) -> int:
    """Bytes of a tensor of torch's dtype."""
    return math.prod(shape) * dtype.itemsize


def data_begins(path: Path) -> dict[str, int]:
    """Where each tensor's bytes begin in a file that is known to be whole."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(length))
    entries.pop("__metadata__", None)
    return {name: 8 + length + entry["data_offsets"][0] for name, entry in entries.items()}


def raw_bytes(tensor: Tensor) -> memoryview:
    """A contiguous CPU tensor's own memory, as bytes."""
    return tensor.reshape(-1).view(torch.uint8).numpy().data


@dataclass(frozen=True)
class SafetensorsFile:
    """One file to be: its tensors, all of one dtype, in the order they lie in it."""

    path: Path
    parts: tuple[Part, ...]
    dtype: Dtype

    @property
    def data_bytes(self) -> int:
        """Bytes of all tensors, without the header."""
        return sum(byte_size(part.shape, self.dtype) for part in self.parts)

    def header(self) -> bytes:
        """What the file begins with."""
        entries: dict[str, object] = {"__metadata__": {"format": "pt"}}
        end = 0
        for name, shape in self.parts:
            start, end = end, end + byte_size(shape, self.dtype)
            entries[name] = {"dtype": CODES[self.dtype], "shape": list(shape), "data_offsets": [start, end]}
        text = json.dumps(entries, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)  # readers map the file: tensors begin at multiples of 8 bytes
        return len(text).to_bytes(8, "little") + text

    def starts(self) -> dict[str, int]:
        """Where each tensor's bytes begin in the file."""
        sizes = [byte_size(shape, self.dtype) for _, shape in self.parts]
        begins = itertools.accumulate(sizes, initial=len(self.header()))
        return {part.name: begin for part, begin in zip(self.parts, begins, strict=False)}

    def create(self) -> dict[str, int]:
        """Write the header and make room for the tensors; returns where each one's bytes begin in the file."""
        header = self.header()
        with self.path.open("wb") as file:
            file.write(header)
            file.truncate(len(header) + self.data_bytes)
        return self.starts()

    def is_created(self) -> bool:
        """Whether the file is there with just this header and this room."""
        header = self.header()
        if not self.path.is_file() or self.path.stat().st_size != len(header) + self.data_bytes:
            return False
        with self.path.open("rb") as file:
            return file.read(len(header)) == header

    def put(self, tensor: Tensor, start: int) -> None:
        """Write one tensor's bytes, converted to the file's dtype, from `start` on."""
        plain = tensor.detach().to("cpu", TORCH_DTYPES[self.dtype]).contiguous()
        with self.path.open("r+b") as file:
            file.seek(start)
            file.write(raw_bytes(plain))

    def flush_to_disk(self) -> None:
        """Return when the file would survive a power cut."""
        with self.path.open("rb") as file:
            os.fsync(file.fileno())
