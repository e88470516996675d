"""status.json: how a run stands, for whatever waits for it: a batch script, a dashboard, a person.

state                    starting, running, stopping; finished, stopped, failed: these three are an end
phase                    what it does at this moment: rollout, logprobs, update, validation, checkpoint, ...
step, steps, stage       steps done, steps in all, and the stage's name
attempt                  number of the attempt
last_checkpoint          {"name", "unix_seconds"} of the newest whole one, null before the first
last_validation          {"step", "score"}
reason, exit_code        how it ended; null before
restart                  whether the same command is to be started again; null before it ended
eta_unix_seconds         when it will have done its steps if it goes on at this attempt's pace
heartbeat_unix_seconds   written anew every 15 seconds: a state that isn't an end and is older is that of a dead run
"""

from __future__ import annotations

import json
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

log = logging.getLogger(__name__)

STATUS_FILE = "status.json"
State = Literal["starting", "running", "stopping", "finished", "stopped", "failed"]
ENDS = ("finished", "stopped", "failed")


class RunStatus:
    """Keeps the file; each change is there when the call returns, whole. Without `path` (other ranks) nothing is.

    A file that can't be written is a warning: what a run is there for doesn't depend on it.
    """

    def __init__(self, path: Path | None, *, attempt: int) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._warned = False
        self._pace: tuple[float, int] | None = None  # when this attempt's first step began, and steps done then
        self.changes = 0  # of phase and step
        self._said: dict[str, Any] = {
            "state": "starting",
            "phase": "starting",
            "step": None,
            "steps": None,
            "stage": None,
            "attempt": attempt,
            "last_checkpoint": None,
            "last_validation": None,
            "reason": None,
            "exit_code": None,
            "restart": None,
            "eta_unix_seconds": None,
            "started_unix_seconds": time.time(),
        }
        self.update()

    def update(self, **known: Any) -> None:
        """Say more, and when it was said."""
        with self._lock:
            self._said |= {**known, "heartbeat_unix_seconds": time.time()}
            if self._path is not None:
                self._write(self._path)

    @property
    def heartbeat(self) -> float:
        """When the file was last written, in Unix seconds."""
        return float(self._said["heartbeat_unix_seconds"])

    def phase(self, name: str) -> None:
        self.changes += 1
        self.update(phase=name)

    @property
    def present(self) -> tuple[str, int | None]:
        """The phase that this rank is in, and the steps it has done."""
        return self._said["phase"] or "ending", self._said["step"]

    def stands_at(self, step: int, steps: int) -> None:
        """The run begins, or goes on, after `step` of `steps`."""
        self._pace = time.time(), step
        self.update(state="running", step=step, steps=steps)

    def stepped(self, step: int, stage: str) -> None:
        """`step` steps are done, the last of them in `stage`."""
        now, steps = time.time(), self._said["steps"]
        eta = None
        if self._pace is not None and step > self._pace[1] and steps is not None:
            start, before = self._pace
            eta = now + (now - start) / (step - before) * (steps - step)
        self.update(step=step, stage=stage, eta_unix_seconds=eta)

    def _write(self, path: Path) -> None:
        try:
            beside = path.with_name(path.name + ".partial")
            beside.write_text(json.dumps(self._said, indent=1) + "\n", encoding="utf-8")
            os.replace(beside, path)
        except OSError as error:
            if not self._warned:
                log.warning("%s can't be written, and doesn't tell how the run stands: %s", path, error)
                self._warned = True


class Heartbeat:
    """Inside the `with`, `beat` is called every so many seconds by a thread of its own."""

    def __init__(self, beat: Callable[[], None], seconds: float) -> None:
        self._beat, self._seconds = beat, seconds
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="heartbeat", daemon=True)

    def _run(self) -> None:
        warned = False
        while not self._over.wait(self._seconds):
            try:
                self._beat()
            except OSError as error:
                if not warned:
                    log.warning("no sign of life can be written: %s", error)
                    warned = True

    def __enter__(self) -> Heartbeat:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()


def read_status(run_dir: Path) -> dict[str, Any]:
    """What a run says of itself; empty when it says nothing."""
    try:
        said = json.loads((run_dir / STATUS_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}
