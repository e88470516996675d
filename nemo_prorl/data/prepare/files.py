"""Problems in files, and files that are whole or not there."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from nemo_prorl.data.prepare.base import EVIDENCE
from nemo_prorl.data.prompt import Row
from nemo_prorl.errors import DataError

FIELDS = ("uid", "domain", "task", "source", "messages", "verifier", "reference", "metadata")


def as_object(row: Row, *, evidence: bool = False) -> dict[str, Any]:
    """The row as `JsonlSource` reads it, in the order of `FIELDS`; `evidence`: with what only passes look at."""
    metadata = {key: value for key, value in row.metadata.items() if evidence or key != EVIDENCE}
    row_fields = {**{name: getattr(row, name) for name in FIELDS}, "metadata": metadata}
    return {**row_fields, "messages": [dict(message) for message in row.messages]}


def as_line(row: Row, *, evidence: bool = False) -> str:
    """One line of JSON, the same bytes for the same row."""
    return json.dumps(as_object(row, evidence=evidence), ensure_ascii=False) + "\n"


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of a file that we wrote."""
    return (Row(**raw) for raw in read_lines(path))


def read_lines(path: Path) -> Iterator[Any]:
    """What each line of a JSONL file of ours says; nothing if it isn't there."""
    if path.exists():
        with path.open(encoding="utf-8", newline="\n") as file:
            for line in file:
                yield json.loads(line)


@contextmanager
def whole(path: Path) -> Iterator[TextIO]:
    """A text file that appears under its name when it is complete, or not at all.

    Raises:
        DataError: the system refuses.
    """
    partial = path.with_name(f"{path.name}.partial")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("w", encoding="utf-8", newline="\n") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(partial, path)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Around what writes `path`.

    Raises:
        DataError: the system refuses.
    """
    try:
        yield
    except OSError as error:
        raise DataError(
            f"{path} can't be written: {error.strerror or error}. Make room on its disk, or let this user write there, "
            "then start the same command again: it goes on from what is there"
        ) from error


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """`value` as a whole file."""
    with whole(path) as file:
        file.write(json.dumps(value, indent=1, ensure_ascii=False) + "\n")


def write_lines(path: Path, lines: Iterable[str]) -> None:
    """`lines` as a whole file."""
    with whole(path) as file:
        file.writelines(lines)


def sha256(path: Path) -> str:
    """Of a file's bytes, in hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
