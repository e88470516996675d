"""Files of one JSON object a line that survive being killed: metrics.jsonl and samples.jsonl.

Every record has a "step". A float is written as its shortest exact form, so two runs can be compared bit for bit.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from nemo_prorl.errors import DataError, RunFolderError
from nemo_prorl.telemetry.run_folder import written

log = logging.getLogger(__name__)

METRICS_FILE = "metrics.jsonl"
SAMPLES_FILE = "samples.jsonl"
VALIDATION_SAMPLES_FILE = "validation_samples.jsonl"
# What happens between two steps is recorded with the one before.
BOUNDARY_KINDS = ("validation", "stage", "reset", "reset_effect")


class RecordFile:
    """Appends records; each is on the disk when `append` returns. A file that can't be written is a RunFolderError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None

    def resume(self, step: int | None, *, boundary_is_done: bool = True) -> None:
        """Open for appending, after dropping what came later than `step` (None: everything) and a torn last line.

        Unless `boundary_is_done`, what was recorded of the boundary after `step` (BOUNDARY_KINDS) goes, too.
        """
        self.close()
        with written(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            _keep_up_to(self.path, step, boundary_is_done)
            # A lone surrogate, which UTF-8 doesn't have, becomes the JSON escape that stands for it.
            self._file = self.path.open("a", encoding="utf-8", errors="backslashreplace")

    def append(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            raise DataError(f"{self.path} isn't open for writing; call resume() first")
        line = json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n"
        try:
            with written(self.path):
                # One write call: a kill leaves at most one torn line, and it is the last.
                self._file.write(line)
                self._file.flush()
                os.fsync(self._file.fileno())
        except RunFolderError:
            self.close()
            raise

    def close(self) -> None:
        """Every record is on the disk already; what a failed `append` has left unwritten is given up."""
        if self._file is not None:
            with suppress(OSError):
                self._file.close()
            self._file = None


def read_records(path: Path, kind: str | None = None) -> list[dict[str, Any]]:
    """The whole records of a file in order, of one `kind` or of all; none when there is no file."""
    return [record for record in each_record(path) if kind is None or record["kind"] == kind]


def each_record(path: Path) -> Iterator[dict[str, Any]]:
    """The whole records of a file in order, one at a time; none when there is no file."""
    if path.exists():
        for record, _ in _parsed(path):
            yield record


def _keep_up_to(path: Path, step: int | None, boundary_is_done: bool) -> None:
    """Rewrite `path` beside itself and rename, so that a kill in the midst of it loses nothing."""
    if not path.exists():
        return
    partial = path.with_name(path.name + ".partial")
    with partial.open("w", encoding="utf-8") as kept:
        if step is not None:
            for record, line in _parsed(path):
                of_boundary = record.get("kind") in BOUNDARY_KINDS
                if record["step"] < step or (record["step"] == step and (boundary_is_done or not of_boundary)):
                    kept.write(line)
        kept.flush()
        os.fsync(kept.fileno())
    os.replace(partial, path)


def _parsed(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Records and the lines they stand in. A line that isn't a whole record is named in the log and left out."""
    with path.open(encoding="utf-8", errors="replace") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
                whole = line.endswith("\n") and isinstance(record, dict) and isinstance(record["step"], int)
            except (ValueError, KeyError):
                whole = False
            if whole:
                yield record, line
            else:
                log.warning("%s line %d isn't a whole record and is left out: %.60r", path, number, line)
