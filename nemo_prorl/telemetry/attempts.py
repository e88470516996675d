"""The attempts of a run: every start of the command is one, and only one lives at a time.

    attempts/0001/
        process.json    the process that has the run: its main rank
        alive           touched every few seconds as long as it lives
        attempt.json    when, where, by what command and with which versions; how it ended
        config.yaml     the resolved configuration
        logs/           a file a rank

Whoever makes the folder of the next number has the run: no file system makes a folder twice. Before that, the attempt
before must be over. On its own host that is seen from its process, so it is known at once after kill -9. From another
host it is seen from `alive`, in the file system's own time, so that no two clocks are compared: an attempt is over when
that file was not touched for STALE_SECONDS.
"""

from __future__ import annotations

import json
import logging
import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nemo_prorl.errors import DataError, RunInUseError
from nemo_prorl.telemetry.process_identity import ProcessIdentity

log = logging.getLogger(__name__)

ATTEMPTS = "attempts"
HEARTBEAT_SECONDS = 15.0
STALE_SECONDS = 120.0  # eight heartbeats; network file systems show a file's time up to a minute late
_PROCESS, _ALIVE, RECORD_FILE = "process.json", "alive", "attempt.json"


class Attempt:
    """One attempt, this process's own or another's."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def claim(cls, run_dir: Path) -> Attempt:
        """The next attempt of a run, this process's own from now on. May wait for STALE_SECONDS, see above.

        Raises:
            RunInUseError: another process has the run.
            OSError: the folder can't be written.
        """
        attempts = run_dir / ATTEMPTS
        attempts.mkdir(parents=True, exist_ok=True)
        before = cls.newest(run_dir)
        if before is not None:
            if before.seems_alive(patient=True):
                raise RunInUseError(
                    f"run.dir={run_dir} is in use by {before}. Wait until it ends, stop it with 'prorl stop "
                    f"{run_dir}', or choose another run.dir"
                )
            before.was_lost()
        own = cls(attempts / f"{1 if before is None else before.number + 1:04d}")
        try:
            own.folder.mkdir()
        except FileExistsError:
            raise RunInUseError(
                f"run.dir={run_dir} was taken at this moment by another process. Start only one, or choose another "
                "run.dir"
            ) from None
        _write(own.folder / _PROCESS, ProcessIdentity.own().as_json())
        own.touch()
        return own

    @classmethod
    def newest(cls, run_dir: Path) -> Attempt | None:
        """The last attempt of a run; None: there was none."""
        attempts = run_dir / ATTEMPTS
        names = [path.name for path in attempts.iterdir()] if attempts.is_dir() else []
        numbers = [int(name) for name in names if name.isdecimal()]
        return cls(attempts / f"{max(numbers):04d}") if numbers else None

    @property
    def number(self) -> int:
        return int(self.folder.name)

    @property
    def process(self) -> ProcessIdentity | None:
        """Whose it is; None: that isn't written yet, or not readable."""
        try:
            return ProcessIdentity.from_json(_read(self.folder / _PROCESS))
        except DataError:
            return None

    def seems_alive(self, *, patient: bool = False) -> bool:
        """Whether its process runs. `patient`: where that can't be known at once, wait and see whether it touches."""
        if "ended_unix_seconds" in self.record():
            return False
        process = self.process
        if process is not None and process.is_here:
            return process.is_running
        first = self._touched()
        told = False
        while (idle := self._idle_seconds()) < STALE_SECONDS:
            if not patient or self._touched() != first:
                return True
            if not told:
                log.warning(
                    "%s did not say that it has ended, and was alive %.0f seconds ago; waiting for up to %.0f seconds "
                    "to see whether it still is",
                    *(self, idle, STALE_SECONDS - idle),
                )
                told = True
            time.sleep(1.0)
        return False

    def touch(self) -> None:
        (self.folder / _ALIVE).touch()

    def record(self) -> dict[str, Any]:
        """What is known of it; empty when nothing is."""
        try:
            return _read(self.folder / RECORD_FILE)
        except DataError:
            return {}

    def add(self, known: Mapping[str, Any]) -> None:
        """Write down more of it."""
        _write(self.folder / RECORD_FILE, {**self.record(), **known})

    def was_lost(self) -> None:
        """Note that it ended without saying so, unless it did."""
        record = self.record()
        if "state" not in record or record["state"] == "running":
            self.add({"state": "lost", "reason": "killed, or its host went down: it did not say how it ended"})

    def _touched(self) -> float:
        try:
            return (self.folder / _ALIVE).stat().st_mtime
        except OSError:
            return self.folder.stat().st_mtime  # claimed at this moment

    def _idle_seconds(self) -> float:
        """How long ago it gave a sign of life, in the file system's own time."""
        with tempfile.NamedTemporaryFile(prefix=".clock_", dir=self.folder.parent) as probe:
            return os.stat(probe.name).st_mtime - self._touched()

    def __str__(self) -> str:
        return f"attempt {self.number} ({self.process or 'a process that has just begun'})"


def _read(path: Path) -> dict[str, Any]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can't be read: {error}") from error
    if not isinstance(said, dict):
        raise DataError(f"{path} holds no JSON object")
    return said


def _write(path: Path, said: Mapping[str, Any]) -> None:
    beside = path.with_name(path.name + ".partial")
    beside.write_text(json.dumps(said, indent=1, default=str) + "\n", encoding="utf-8")
    os.replace(beside, path)
