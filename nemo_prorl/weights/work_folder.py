"""A folder that takes long to write: whole or not there, and what was killed goes on where it was.

    model.partial/
        conversion.jsonl       first line: the job; then a line for every tensor that is written
        ...                    becomes `model`, without that list, when the work is done and has been looked over

A killed process leaves `.partial` behind. Who starts the same job again finds its list and does the rest; another job
starts anew.
"""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from nemo_prorl.data.kept import lock
from nemo_prorl.errors import ProRLError, WeightsError
from nemo_prorl.weights.new_folder import put_in_place, refuse_full_disk, refuse_to_replace

JOURNAL = "conversion.jsonl"


class WorkFolder:
    """The folder while it is written. `done` says of each finished tensor what was noted about it."""

    def __init__(self, path: Path, journal: IO[str], done: Mapping[str, Any]) -> None:
        self.path, self.done = path, dict(done)
        self._journal, self._lock = journal, threading.Lock()

    def note(self, name: str, facts: Mapping[str, Any]) -> None:
        """Remember that a tensor is written; it won't be written again, not even by another process after this one."""
        with self._lock:
            self.done[name] = dict(facts)
            self._journal.write(json.dumps({"name": name, **facts}) + "\n")
            self._journal.flush()


@contextmanager
def work_folder(
    path: str | Path, *, job: Mapping[str, Any], needs_bytes: int, overwrite: bool = False
) -> Iterator[WorkFolder]:
    """Inside, a folder beside `path` to write to; after it, that is `path`.

    `job` is all that the contents depend on; a partial folder of the same job is gone on with. What was done stays
    when the process is killed or interrupted or the disk gets full; an error of ours removes it.

    Raises:
        WeightsError: `path` holds something and `overwrite` is False, or it holds anything but a model; the disk has
            less than `needs_bytes` free, or gets full; or another process is writing there.
    """
    path = Path(path)
    refuse_to_replace(path, overwrite)
    partial = path.with_name(path.name + ".partial")
    try:
        partial.mkdir(parents=True, exist_ok=True)
        with _locked_journal(partial, path) as journal:
            yield from _at_work(partial, path, journal, job, needs_bytes)
            put_in_place(partial, path)  # with its list, whose lock keeps others out until it has its name
            (path / JOURNAL).unlink()
    except OSError as error:
        kept = f"What is done stays in {partial}: start the same conversion again to go on."
        raise WeightsError(
            f"{path} can't be written: {error}. Free some space, or choose another folder. "
            + (kept if partial.is_dir() else "Nothing was left there.")
        ) from error


def _at_work(
    partial: Path, path: Path, journal: IO[str], job: Mapping[str, Any], needs_bytes: int
) -> Iterator[WorkFolder]:
    done: dict[str, Any] = {}
    try:
        done = _taken_up(partial, journal, job)
        refuse_full_disk(path, needs_bytes, sum(map(_disk_bytes, partial.rglob("*"))))
        work = WorkFolder(partial, journal, done)
        done = work.done
        yield work
    except ProRLError:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    except BaseException:
        if not done:
            shutil.rmtree(partial, ignore_errors=True)
        raise


def _disk_bytes(path: Path) -> int:
    return path.stat().st_blocks * 512 if path.is_file() else 0


@contextmanager
def _locked_journal(partial: Path, path: Path) -> Iterator[IO[str]]:
    with (partial / JOURNAL).open("a+", encoding="utf-8") as journal:
        busy = f"another process is writing {path} right now; wait for it, or choose another folder."
        lock(journal, WeightsError(busy))
        yield journal


def _taken_up(partial: Path, journal: IO[str], job: Mapping[str, Any]) -> dict[str, Any]:
    """What was done of this job before, all else gone."""
    journal.seek(0)
    text = journal.read()
    first, *lines = text[: text.rfind("\n") + 1].splitlines() or [""]  # without the line that it was killed in
    if first != json.dumps(dict(job)):
        lines = []
        for entry in partial.iterdir():
            if entry.name != JOURNAL:
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    kept = "\n".join([json.dumps(dict(job)), *lines]) + "\n"
    journal.seek(0)
    journal.truncate()
    journal.write(kept)
    journal.flush()
    facts = [json.loads(line) for line in lines]
    return {each.pop("name"): each for each in facts}
