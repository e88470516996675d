"""The first step: every raw record becomes a candidate or is rejected, in files that a killed process goes on with."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from nemo_prorl.data.prepare.base import JSON, Converter, Record, Records, shown
from nemo_prorl.data.prepare.files import as_line, read_lines, write_json, writing
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prompt import Row

log = logging.getLogger(__name__)

COMMIT_SECONDS = 5.0  # a killed process reads again at most what it read in so many
COMMIT_RECORDS = 20_000


def convert_all(name: str, records: Records, converter: Converter, work: Path) -> int:
    """Read the records that haven't been yet into candidates.jsonl and rejected.jsonl; gives how many there are in all.

    Raises:
        DataError: the records can't be read any further, or the files can't be written; the next try goes on from here.
    """
    with _Files(work) as files:
        if files.is_complete:
            return files.read
        if files.read:
            log.info("%s: going on after %s records", name, f"{files.read:,}")
        begun, first = time.monotonic(), files.read
        position: JSON = files.position
        for record, told in records.start(position):
            files.add(_converted(record, converter))
            if files.is_time_to_commit():
                position = told()
                files.commit(position)
                rate = (files.read - first) / (time.monotonic() - begun)
                log.info(
                    "%s: %s records read, %s usable, %.0f a second", name, f"{files.read:,}", f"{files.kept:,}", rate
                )
        files.commit(position, is_complete=True, findings=records.findings())
        log.info("%s: all %s records read, %s usable", name, f"{files.read:,}", f"{files.kept:,}")
        return files.read


def findings_of(work: Path) -> JSON:
    """What the records' reader had to tell."""
    return _journal(work)["findings"]


def _converted(record: Record | Rejection, converter: Converter) -> Row | Rejection:
    if isinstance(record, Rejection):
        return record
    row = converter.convert(record)
    if isinstance(row, Row):
        try:
            as_line(row, evidence=True).encode()
        except UnicodeEncodeError as error:
            return Rejection("broken Unicode", shown(str(error)))
    return row


def _journal(work: Path) -> dict[str, Any]:
    try:
        journal: dict[str, Any] = json.loads((work / "journal.json").read_text(encoding="utf-8"))
        return journal
    except FileNotFoundError:
        return {"read": 0, "kept": 0, "position": None, "sizes": {}, "is_complete": False, "findings": None}


class _Files:
    """Candidates and rejections, cut back at the start to what the journal says is good."""

    def __init__(self, work: Path) -> None:
        self._work = work
        journal = _journal(work)
        self.read: int = journal["read"]
        self.kept: int = journal["kept"]
        self.position: JSON = journal["position"]
        self.is_complete: bool = journal["is_complete"]
        self._candidates = self._open("candidates.jsonl", journal["sizes"])
        self._rejected = self._open("rejected.jsonl", journal["sizes"])
        self._committed, self._committed_at = self.read, time.monotonic()

    def _open(self, name: str, sizes: Mapping[str, int]) -> TextIO:
        path = self._work / name
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a", encoding="utf-8", newline="\n", errors="backslashreplace")
            file.truncate(sizes.get(name, 0))
            return file

    def add(self, outcome: Row | Rejection) -> None:
        self.read += 1
        with writing(self._work):
            if isinstance(outcome, Row):
                self.kept += 1
                self._candidates.write(as_line(outcome, evidence=True))
            else:
                rejected = {"step": "read", "record": self.read - 1, **vars(outcome)}
                self._rejected.write(json.dumps(rejected, ensure_ascii=False) + "\n")

    def is_time_to_commit(self) -> bool:
        waited = time.monotonic() - self._committed_at > COMMIT_SECONDS
        return waited or self.read - self._committed >= COMMIT_RECORDS

    def commit(self, position: JSON, *, is_complete: bool = False, findings: JSON = None) -> None:
        """From here on, what was added is good."""
        with writing(self._work):
            for file in (self._candidates, self._rejected):
                file.flush()
                os.fsync(file.fileno())
            sizes = {
                Path(file.name).name: os.fstat(file.fileno()).st_size for file in (self._candidates, self._rejected)
            }
        journal = {"read": self.read, "kept": self.kept, "position": position, "sizes": sizes}
        write_json(self._work / "journal.json", {**journal, "is_complete": is_complete, "findings": findings})
        self._committed, self._committed_at = self.read, time.monotonic()

    def __enter__(self) -> _Files:
        return self

    def __exit__(self, *error: object) -> None:
        self._candidates.close()
        self._rejected.close()


def rejections_in(paths: list[Path]) -> dict[str, dict[str, int]]:
    """How many were rejected, by step and reason, in files of rejections; the most frequent reasons first."""
    counts: dict[str, dict[str, int]] = {}
    for path in paths:
        for line in read_lines(path):
            step = counts.setdefault(line["step"], {})
            step[line["reason"]] = step.get(line["reason"], 0) + 1
    return {step: dict(sorted(found.items(), key=lambda item: -item[1])) for step, found in counts.items()}
