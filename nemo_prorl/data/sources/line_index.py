"""Where the lines of a large JSONL file lie: found once, kept in a file beside it, mapped into memory from then on.

The index holds for one content of the file and one way of reading it. A file whose size and time of change are those of
the index is taken as it is; one that only its time tells apart is read through once and compared by its digest; any
other is indexed anew. Where the data's folder can't be written to, the index lies in the user's cache folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.data.kept import cache_folder, kept_whole

log = logging.getLogger(__name__)

FORMAT = "nemo_prorl line index 1"
HEADER_BYTES = 8  # before the header: its length, a little-endian integer
LINES = np.dtype([("offset", "<i8"), ("bytes", "<u4"), ("line", "<u4"), ("number", "<u4")])
READ_BYTES = 1 << 20


@dataclass(frozen=True)
class Stamp:
    """What a file's content is known by."""

    size: int
    mtime_ns: int
    digest: str = ""  # of every byte; "" until somebody has read them

    @classmethod
    def of(cls, path: Path) -> Stamp:
        """Without reading the file."""
        status = path.stat()
        return cls(status.st_size, status.st_mtime_ns)


@dataclass(frozen=True)
class LineIndex:
    """The objects of a JSONL file, and which of them belong to each domain.

    `lines` [N] says where object i lies, in bytes, and on which line of the file, from 1. Its field `number` has the
    numbers of all objects ordered by domain; `domains` says how many each has, in that order.
    """

    stamp: Stamp
    lines: NDArray[np.void]
    domains: Mapping[str, int]
    tasks: tuple[str, ...]

    def numbers_of(self) -> dict[str, Sequence[int]]:
        """The numbers of each domain's objects, ascending."""
        if len(self.domains) == 1:
            return {domain: range(size) for domain, size in self.domains.items()}
        parts: dict[str, Sequence[int]] = {}
        start = 0
        for domain, size in self.domains.items():
            parts[domain] = Numbers(self.lines["number"][start : start + size])
            start += size
        return parts


class Numbers(Sequence[int]):
    """An array of numbers that gives Python's own."""

    def __init__(self, array: NDArray[np.uint32]) -> None:
        self._array = array

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Any:
        found = self._array[index]
        return Numbers(found) if isinstance(index, slice) else int(found)

    def __iter__(self) -> Iterator[int]:
        return iter(self._array.tolist())


def kept_index(path: Path, reading: str, make: Callable[[], LineIndex]) -> LineIndex:
    """The index of `path` that is kept, or the one that `make` gives, kept from now on.

    `reading` names the way of reading: another one has another index. Processes that come together wait for the first.
    """
    files = [folder / _file_name(path, reading) for folder in (path.parent, cache_folder("indexes"))]
    if (found := _valid(files, path)) is not None:
        return found
    with _alone_with(path):
        if (found := _valid(files, path)) is not None:  # made while this process waited
            return found
        index = make()
        for file in files:
            if _save(file, index):
                log.info("%s: %d rows are indexed in %s", path, len(index.lines), file)
                return _load(file) or index
    log.warning(
        "%s: its index can't be kept in %s or %s, so every start reads it whole", path, *(f.parent for f in files)
    )
    return index


def _valid(files: Sequence[Path], path: Path) -> LineIndex | None:
    """The first of the index files that belongs to the present content of `path`."""
    stamp = Stamp.of(path)
    for file in files:
        index = _load(file)
        if index is None or index.stamp.size != stamp.size:
            continue
        if index.stamp.mtime_ns == stamp.mtime_ns:
            return index
        log.info("%s has another time of change than its index knows; comparing contents", path)
        if digest_of(path) == index.stamp.digest:
            _save(file, replace(index, stamp=replace(index.stamp, mtime_ns=stamp.mtime_ns)))
            return index
    return None


def digest_of(path: Path) -> str:
    """Of every byte of a file."""
    digest = hashlib.blake2b(digest_size=16)
    with path.open("rb") as file:
        while part := file.read(READ_BYTES):
            digest.update(part)
    return digest.hexdigest()


def _load(file: Path) -> LineIndex | None:
    """An index file, mapped; None if there is none, or one that isn't whole."""
    try:
        with file.open("rb") as opened:
            header_bytes = int.from_bytes(opened.read(HEADER_BYTES), "little")
            header = json.loads(opened.read(header_bytes)) if header_bytes < READ_BYTES else {}
        start = HEADER_BYTES + header_bytes
        if header["format"] != FORMAT or file.stat().st_size != start + header["rows"] * LINES.itemsize:
            return None
        lines = np.memmap(file, LINES, mode="r", offset=start, shape=(header["rows"],))
        return LineIndex(Stamp(**header["stamp"]), lines, header["domains"], tuple(header["tasks"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _save(file: Path, index: LineIndex) -> bool:
    """Write beside and rename, so that nobody ever sees half an index; False where that isn't possible."""
    header = {"format": FORMAT, "rows": len(index.lines), "stamp": vars(index.stamp)}
    text = json.dumps({**header, "domains": dict(index.domains), "tasks": index.tasks}).encode()
    try:
        with kept_whole(file) as opened:
            opened.write(len(text).to_bytes(HEADER_BYTES, "little") + text)
            opened.write(np.ascontiguousarray(index.lines).data)
    except OSError:
        return False
    return True


@contextmanager
def _alone_with(path: Path) -> Iterator[None]:
    """Inside, no other process of this host is; where the file system knows no locks, several may be."""
    with path.open("rb") as file:
        with suppress(OSError):
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _file_name(path: Path, reading: str) -> str:
    key = hashlib.blake2b(f"{path.resolve()}\x1f{reading}".encode(), digest_size=6).hexdigest()
    return f".{path.name}.{key}.index"
