"""The objects of a JSONL file by number, read by offset and never held whole in memory."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from array import array
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.data.sources.line_index import LINES, LineIndex, Stamp, kept_index
from nemo_prorl.errors import DataError

log = logging.getLogger(__name__)

KEPT_FROM_BYTES = 8 << 20  # a smaller file is read whole at every start, in less than a second
SECONDS_BETWEEN_WORDS = 5.0


class Tags(NamedTuple):
    """What is to be known of every object at the start. `uid`: None for one that isn't its own."""

    domain: str
    task: str
    uid: str | None


Check = Callable[[str, Mapping[str, Any]], Tags]
"""(path:line, object) -> its tags, or a DataError that begins with path:line."""


class JsonLines:
    """The objects of a JSONL file by number. Blank lines don't count.

    Every object is checked once. A file of more than 8 MiB has an index beside it that says so, see `line_index`:
    only the first start reads it whole. `reading` names what else the check depends on, the settings of its source.

    Raises:
        DataError: the file is missing or empty, a line isn't a JSON object, the check refuses one, or a uid was given
            twice; the message says path:line.
    """

    def __init__(self, path: str, setting: str, check: Check, reading: str = "") -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise DataError(f"{setting}={path!r}: there is no such file (looked from {Path.cwd()})")
        self._check, self._setting = check, setting
        is_large = self.path.stat().st_size > KEPT_FROM_BYTES
        index = kept_index(self.path, reading, self._indexed) if is_large else self._indexed()
        self._size = index.stamp.size
        # Two views: picking a field of one record would make Python objects of all four.
        self._offsets, self._bytes = index.lines["offset"], index.lines["bytes"]
        self._line_numbers = index.lines["line"]
        self.numbers_of_domains = index.numbers_of()
        self.tasks = index.tasks

    def __len__(self) -> int:
        return len(self._offsets)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not 0 <= index < len(self):
            raise DataError(f"{self.path} has rows 0 to {len(self) - 1}; row {index} was asked for")
        with self.path.open("rb", buffering=0) as file:
            if file.seek(0, 2) != self._size:
                raise DataError(f"{self.path} has changed since it was opened; start again to read it as it is now")
            file.seek(int(self._offsets[index]))
            return parsed(file.read(int(self._bytes[index])), self.where(index))

    def where(self, index: int) -> str:
        """path:line of an object, for messages."""
        return f"{self.path}:{self._line_numbers[index]}"

    def _indexed(self) -> LineIndex:
        """Read the file through, checking every object."""
        stamp = Stamp.of(self.path)
        found = _Found()
        told = time.monotonic()
        with self.path.open("rb") as file:
            for line_number, line in enumerate(file, start=1):
                found.digest.update(line)
                if line.strip():
                    where = f"{self.path}:{line_number}"
                    found.add(len(line), line_number, self._check(where, parsed(line, where)))
                found.offset += len(line)
                if time.monotonic() - told > SECONDS_BETWEEN_WORDS:
                    told = time.monotonic()
                    log.info(
                        "%s: checked %.0f%% of its rows, once and for all", self.path, found.offset / stamp.size * 100
                    )
        if not found.offsets:
            raise DataError(f"{self._setting}={str(self.path)!r} is empty; write one JSON object a line")
        self._refuse_repeated_uids(found)
        return found.index(stamp)

    def _refuse_repeated_uids(self, found: _Found) -> None:
        """By digests, since a million texts would fill memory; what they say is then read again."""
        numbers = np.frombuffer(found.uid_owners, dtype=np.int64)
        digests = np.frombuffer(found.uid_digests, dtype=np.uint64)
        order = np.argsort(digests, kind="stable")
        again = np.flatnonzero(digests[order][1:] == digests[order][:-1]) + 1
        pairs = sorted((int(numbers[order[i]]), int(numbers[order[i - 1]])) for i in again)
        for later, earlier in pairs:
            uids = [self._uid_at(found.offsets[number]) for number in (later, earlier)]
            if uids[0] == uids[1]:
                places = [f"{self.path}:{found.line_numbers[number]}" for number in (later, earlier)]
                raise DataError(f"{places[0]}: uid {uids[0]!r} was given to {places[1]}")

    def _uid_at(self, offset: int) -> Any:
        with self.path.open("rb") as file:
            file.seek(offset)
            return parsed(file.readline(), str(self.path))["uid"]


class _Found:
    """What a reading of the file finds, as numbers."""

    def __init__(self) -> None:
        self.offsets, self.sizes, self.line_numbers = array("q"), array("L"), array("L")
        self.domain_codes, self.uid_owners, self.uid_digests = array("B"), array("q"), array("Q")
        self.domains: dict[str, int] = {}
        self.tasks: dict[str, None] = {}
        self.digest = hashlib.blake2b(digest_size=16)
        self.offset = 0

    def add(self, size: int, line_number: int, tags: Tags) -> None:
        if tags.uid is not None:
            self.uid_owners.append(len(self.offsets))
            self.uid_digests.append(uid_digest(tags.uid))
        self.offsets.append(self.offset)
        self.sizes.append(size)
        self.line_numbers.append(line_number)
        self.domain_codes.append(self.domains.setdefault(tags.domain, len(self.domains)))
        self.tasks[tags.task] = None

    def index(self, stamp: Stamp) -> LineIndex:
        lines: NDArray[np.void] = np.zeros(len(self.offsets), LINES)
        lines["offset"], lines["bytes"], lines["line"] = self.offsets, self.sizes, self.line_numbers
        codes = np.frombuffer(self.domain_codes, dtype=np.uint8)
        lines["number"] = np.argsort(codes, kind="stable")
        sizes = np.bincount(codes, minlength=len(self.domains)).tolist()
        stamp = Stamp(stamp.size, stamp.mtime_ns, self.digest.hexdigest())
        return LineIndex(stamp, lines, dict(zip(self.domains, sizes, strict=True)), tuple(self.tasks))


def uid_digest(uid: str) -> int:
    """64 bits that stand for a uid, never 0."""
    return int.from_bytes(hashlib.blake2b(uid.encode(), digest_size=8).digest(), "little") or 1


def parsed(line: bytes, where: str) -> dict[str, Any]:
    """The object that a line of JSONL is.

    Raises:
        DataError: it is none; the message begins with `where`.
    """
    try:
        value = json.loads(line.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # bad UTF-8, bad JSON, JSON nested too deep
        raise DataError(f"{where} is not JSON in UTF-8: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{where} is a {type(value).__name__}; a line must be a JSON object {{...}}")
    return value
