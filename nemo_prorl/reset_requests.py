"""Requests for a reset, as files: `prorl reset` writes them, a live run obeys them.

requests/reset_1732550400000000000.json         {"reason", "by", "asked_unix_seconds"}: waits
requests/done/reset_1732550400000000000.json    the same and {"obeyed_after_step"}
"""

from __future__ import annotations

import getpass
import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

FOLDER, DONE = "requests", "done"


@dataclass(frozen=True)
class ResetRequest:
    """One or several requests that are obeyed as one; `files` are their names."""

    reason: str
    files: tuple[str, ...]


def ask_for_reset(run_dir: Path, reason: str) -> Path:
    """Leave a request for the run of `run_dir`; gives its file.

    Raises:
        OSError: it can't be written.
    """
    folder = run_dir / FOLDER
    folder.mkdir(exist_ok=True)
    path = folder / f"reset_{time.time_ns()}.json"
    _write(path, {"reason": reason, "by": _who(), "asked_unix_seconds": time.time()})
    return path


class ResetRequests:
    """Those of one run, as its main rank sees them."""

    def __init__(self, run_dir: Path) -> None:
        self._folder = run_dir / FOLDER

    def after(self, step: int) -> ResetRequest | None:
        """What is to be obeyed at the boundary after `step`: what was obeyed there before, or else whatever waits."""
        again = [(path, said) for path, said in _read(self._folder / DONE) if said.get("obeyed_after_step") == step]
        found = again or list(_read(self._folder))
        if not found:
            return None
        reasons = [f"{said['reason']} (asked by {said.get('by', 'somebody')})" for _, said in found]
        return ResetRequest("; ".join(reasons), tuple(path.name for path, _ in found))

    def put_away(self, request: ResetRequest, step: int) -> None:
        """`request` was obeyed after `step`. Trouble with its files is a warning: it would be obeyed once more."""
        for path, said in _read(self._folder):
            if path.name in request.files:
                try:
                    (self._folder / DONE).mkdir(exist_ok=True)
                    _write(self._folder / DONE / path.name, {**said, "obeyed_after_step": step})
                    path.unlink()
                except OSError as error:
                    log.warning("%s was obeyed but can't be put away, and will be obeyed again: %s", path, error)


def _read(folder: Path) -> Iterator[tuple[Path, dict[str, Any]]]:
    """The requests of `folder`, the oldest first; what isn't one is named in the log and passed over."""
    for path in sorted(folder.glob("reset_*.json")):
        try:
            said = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(said, dict) or not isinstance(said.get("reason"), str):
                raise ValueError(f"it has no reason, a text; found {said!r:.80}")
        except (OSError, ValueError) as error:
            log.warning("%s is no request for a reset: %r", path, error)
        else:
            yield path, said


def _write(path: Path, said: dict[str, Any]) -> None:
    beside = path.with_name(path.name + ".partial")
    beside.write_text(json.dumps(said, indent=1) + "\n", encoding="utf-8")
    os.replace(beside, path)


def _who() -> str:
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (KeyError, OSError):
        return f"user {os.getuid()}@{socket.gethostname()}"
