"""A folder in which ranks leave their reports for each other, and which is thereby tried as a shared file system.

It needs no network but that of the file system, so that what is wrong with the other one can still be told.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import suppress
from pathlib import Path

from nemo_prorl.preflight.finding import Finding, RankReport

SECONDS_BETWEEN_LOOKS = 0.1
CHECK = "shared folder"


class Meeting:
    """`<folder>/.preflight_<name>`, where each of `size` ranks leaves a file. `name` is the same on all, and new."""

    def __init__(self, folder: Path, name: str, *, size: int) -> None:
        self.folder, self._size = folder / f".preflight_{name}", size

    def leave(self, report: RankReport) -> None:
        """Leave, or replace, this rank's report: whole, whenever it is seen.

        Raises:
            OSError: it can't be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self._path(report.rank)
        beside = path.with_suffix(".partial")
        beside.write_text(json.dumps(report.as_json()), encoding="utf-8")
        os.replace(beside, path)

    def reports(self) -> dict[int, RankReport]:
        """What is there now, by rank."""
        found = {}
        for rank in range(self._size):
            with suppress(FileNotFoundError):
                found[rank] = RankReport.from_json(json.loads(self._path(rank).read_text(encoding="utf-8")))
        return found

    def gather(self, deadline: float, *, done: bool) -> dict[int, RankReport]:
        """The reports of all ranks, or those that are there at `deadline` (time.monotonic). `done`: final ones."""
        while True:
            _refresh(self.folder)
            found = {rank: report for rank, report in self.reports().items() if report.done or not done}
            if len(found) == self._size or time.monotonic() > deadline:
                return found
            time.sleep(SECONDS_BETWEEN_LOOKS)

    def check(self, deadline: float) -> Finding:
        """Whether this rank sees what each of the others has left."""
        began = time.monotonic()
        missing = sorted(set(range(self._size)) - self.gather(deadline, done=False).keys())
        if missing:
            advice = (
                "its host doesn't mount this folder, shows it minutes late, or its task never came to its start. "
                "Choose a folder that all hosts share (in a container: CONTAINER_MOUNTS), or exclude that host"
            )
            return Finding(CHECK, "failed", f"{self.folder.parent}: nothing seen of rank {_listed(missing)}", advice)
        seconds = time.monotonic() - began
        return Finding(CHECK, "ok", f"{self.folder.parent}: all {self._size} ranks see each other ({seconds:.1f} s)")

    def close(self) -> None:
        """Remove the folder; one rank does, when all reports have been read."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, rank: int) -> Path:
        return self.folder / f"rank_{rank:05d}.json"


def _refresh(folder: Path) -> None:
    """Network file systems look again at a folder that is opened anew."""
    with suppress(OSError):
        os.listdir(folder)


def _listed(ranks: list[int]) -> str:
    shown = ", ".join(map(str, ranks[:8]))
    return f"{shown} and {len(ranks) - 8} more" if len(ranks) > 8 else shown
