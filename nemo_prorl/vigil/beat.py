"""A sign of life: where a rank is, and since when nothing has moved there."""

from __future__ import annotations

import linecache
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple, Protocol

from nemo_prorl.telemetry.run import Place

# Where a rank waits for others: inside torch's collectives, or at a line that waits for one that is under way.
_COLLECTIVES, _STORAGE = "/torch/distributed/", "/torch/distributed/checkpoint/"
_WAITS = {"/megatron/core/": (".wait(", "wait_for(", ".join("), "/nemo_prorl/": ("work.wait(",)}
_FRAMES_LOOKED_AT = 12


class Beat(NamedTuple):
    """A rank's sign of life.

    idle_seconds  since something moved last
    waits         whether it is in a collective, so that its standing still is another's doing
    at            the line that its main thread is at
    """

    phase: str
    step: int | None
    idle_seconds: float
    waits: bool
    at: str

    def as_json(self) -> dict[str, Any]:
        return self._asdict()

    @property
    def where(self) -> str:
        """`phase update after step 7`"""
        return f"phase {self.phase}" + (f" after step {self.step}" if self.step is not None else "")


class Telling(Protocol):
    """Who knows where this rank is: `telemetry.run.Run`."""

    @property
    def place(self) -> Place: ...

    @property
    def log_file(self) -> Path | None:
        """Where it logs to, once that is known."""
        ...


def where_threads_are(main: int) -> tuple[str, bool]:
    """The line that thread `main` is at, and whether it waits for other ranks, itself or through another thread."""
    frames = sys._current_frames()
    if main not in frames:
        return "nowhere", False
    at = frames[main]
    waits = _is_collective(at)
    if not waits and at.f_code.co_filename.endswith("threading.py"):  # for a checkpoint's thread, say
        others = (frame for ident, frame in frames.items() if ident not in (main, threading.get_ident()))
        waits = any(_is_collective(frame) for frame in others)
    return f"{at.f_code.co_filename}:{at.f_lineno} in {at.f_code.co_name}", waits


def _is_collective(frame: FrameType | None) -> bool:
    for depth in range(_FRAMES_LOOKED_AT):
        if frame is None:
            return False
        file = frame.f_code.co_filename
        if _COLLECTIVES in file and _STORAGE not in file:
            return True
        if depth == 0 and _is_wait(frame):
            return True
        frame = frame.f_back
    return False


def _is_wait(frame: FrameType) -> bool:
    """Sources of other folders aren't read: they may lie on a slow file system."""
    file = frame.f_code.co_filename
    words = [word for folder, of_folder in _WAITS.items() if folder in file for word in of_folder]
    return bool(words) and any(word in linecache.getline(file, frame.f_lineno) for word in words)
