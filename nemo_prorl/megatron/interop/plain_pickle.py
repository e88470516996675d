"""Pickles of other programs, read without running anything in them.

A pickle may call any function while it is read. Checkpoints are full of them: `.metadata`, common.pt, a tensor's
description. Here only what carries data becomes itself; every other class or function becomes a `Stranger` that keeps
its name and what it was given, so that a checkpoint of a program that isn't installed can be read too.
"""

from __future__ import annotations

import io
import pickle
from argparse import Namespace
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from pathlib import PurePosixPath
from types import SimpleNamespace
from typing import Any

import torch
from torch.distributed.checkpoint import metadata as dcp
from torch.distributed.checkpoint.filesystem import _StorageInfo

_KNOWN: dict[tuple[str, str], Any] = {
    ("argparse", "Namespace"): Namespace,
    ("types", "SimpleNamespace"): SimpleNamespace,
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("pathlib", "PosixPath"): PurePosixPath,
    ("builtins", "set"): set,
    ("builtins", "frozenset"): frozenset,
    ("builtins", "slice"): slice,
    ("builtins", "complex"): complex,
    ("builtins", "bytearray"): bytearray,
    ("torch", "Size"): torch.Size,
    ("torch.distributed.checkpoint.filesystem", "_StorageInfo"): _StorageInfo,
} | {
    ("torch.distributed.checkpoint.metadata", name): getattr(dcp, name)
    for name in (
        *(
            "BytesStorageMetadata",
            "ChunkStorageMetadata",
            "Metadata",
            "MetadataIndex",
            "StorageMeta",
            "TensorProperties",
        ),
        *("TensorStorageMetadata", "_MEM_FORMAT_ENCODING"),
    )
}
_KNOWN["torch.serialization", "_get_layout"] = torch.serialization._get_layout
# Megatron's own kind of metadata is torch's with a field more.
_KNOWN["megatron.core.dist_checkpointing.strategies.torch", "MCoreMetadata"] = dcp.Metadata


class Stranger:
    """What stands for a class, a function or what either made: its name, and what it was given."""

    name = ""

    def __init__(self, *arguments: Any, **_: Any) -> None:
        self.arguments: tuple[Any, ...] = arguments

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __repr__(self) -> str:
        return f"<{self.name}>"


def plain_loads(content: bytes, persistent: Callable[[Any], Any] | None = None) -> Any:
    """The object that `content` describes; `persistent` says what stands for a persistent id.

    Raises:
        pickle.UnpicklingError: it is damaged, or has ids and nobody says what they stand for.
    """
    try:
        return _PlainUnpickler(io.BytesIO(content), persistent).load()
    except pickle.UnpicklingError:
        raise
    except Exception as error:  # what a damaged pickle makes of plain classes can be anything
        raise pickle.UnpicklingError(f"{type(error).__name__}: {error}") from error


class _PlainUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, persistent: Callable[[Any], Any] | None) -> None:
        super().__init__(file)
        self._persistent = persistent

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _KNOWN:
            return _KNOWN[module, name]
        if module == "torch" and isinstance(getattr(torch, name, None), torch.dtype):
            return getattr(torch, name)
        return type(name, (Stranger,), {"name": name, "module": module})

    def persistent_load(self, key: Any) -> Any:
        if self._persistent is None:
            raise pickle.UnpicklingError("it refers to something outside of itself")
        return self._persistent(key)
