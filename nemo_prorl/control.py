"""What is asked of a live run, to stop or to reset: how it comes in, and how all ranks come to agree on it.

    stop    SIGTERM, SIGUSR1, Ctrl-C; the file STOP in run.dir (`prorl stop`); the end of the time that the run has
    reset   a file in run.dir's folder requests/ (`prorl reset`)

A signal only leaves a note, so it interrupts nothing, least of all a checkpoint. Notes, files and the clock are looked
at by each rank for itself, at step boundaries and between completions; what follows from it is agreed by all ranks.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, Protocol, TypeAlias, TypeVar

from nemo_prorl.errors import ConfigError, Stopped
from nemo_prorl.pulse import PULSE
from nemo_prorl.reset_requests import ResetRequest, ResetRequests
from nemo_prorl.world import World

T = TypeVar("T")

StopReason: TypeAlias = Callable[[], str | None]  # why this rank is to stop, or None: cheap enough to be asked often

STOP_FILE = "STOP"
SECONDS_BETWEEN_LOOKS = 1.0  # at the stop file; a look is a question to a file system that many ranks share
# Launchers pass a Ctrl-C on to processes that the terminal has told already; one that means "at once" comes later.
SECONDS_BETWEEN_INTERRUPTS = 1.0


def never() -> None:
    """The stop reason of what nobody can stop."""


class StopSignals:
    """Inside the `with`, SIGTERM, SIGUSR1 and Ctrl-C are noted in `asked`; a second Ctrl-C ends the process at once.

    To be opened first of all: until then a signal kills. In a thread that isn't the main one it changes nothing.
    """

    def __init__(self) -> None:
        self.asked: str | None = None
        self._interrupted = 0.0
        self._former: dict[signal.Signals, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            for kind in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
                self._former[kind] = signal.signal(kind, self._note)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if number == signal.SIGINT:
            if self._interrupted and now - self._interrupted > SECONDS_BETWEEN_INTERRUPTS:
                raise KeyboardInterrupt
            if not self._interrupted:
                # Not through the log: it may be in the midst of a line.
                os.write(2, b"prorl: will stop as soon as all is safe; Ctrl-C once more ends at once\n")
                self._interrupted = now
        self.asked = self.asked or ("Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name)


class StopRequests:
    """Why this rank is to stop, or None: its signals, the stop file, the time. Call it as often as you like."""

    def __init__(self, run_dir: Path, signals: StopSignals, time_is_up: StopReason = never) -> None:
        self._file, self._signals, self._time_is_up = run_dir / STOP_FILE, signals, time_is_up
        self._next_look, self._found = 0.0, False

    def __call__(self) -> str | None:
        PULSE.beat()  # a completion is there
        return self._signals.asked or self._said_in_file() or self._time_is_up()

    def _said_in_file(self) -> str | None:
        now = time.monotonic()
        if not self._found and now >= self._next_look:
            self._next_look = now + SECONDS_BETWEEN_LOOKS
            self._found = self._file.exists()
        if not self._found:
            return None
        with suppress(OSError):
            if said := self._file.read_text(encoding="utf-8", errors="replace").strip():
                return f"{STOP_FILE} file: {said}"
        return f"{STOP_FILE} file"


def time_limit(
    max_hours: float | None, margin_minutes: float, environment: Mapping[str, str] = os.environ
) -> StopReason:
    """Says so from `margin_minutes` before `max_hours` from now are over, or before the Slurm job's end.

    SLURM_JOB_END_TIME is in Unix seconds; older versions of Slurm don't set it, but a batch script can.

    Raises:
        ConfigError: it is something else.
    """
    ends = [] if max_hours is None else [(time.time() + 3600 * max_hours, f"run.max_hours={max_hours:g} are over")]
    if job_end := environment.get("SLURM_JOB_END_TIME", ""):
        if not job_end.isdecimal():
            raise ConfigError(f"SLURM_JOB_END_TIME={job_end!r} should be a time in Unix seconds; mend or unset it")
        ends.append((float(job_end), "the Slurm job ends (SLURM_JOB_END_TIME)"))
    if not ends:
        return never
    end, what = min(ends)

    def reason() -> str | None:
        left = end - time.time()
        return f"{what} in {max(left, 0.0) / 60:.1f} minutes" if left <= 60 * margin_minutes else None

    return reason


def until_asked(items: Iterator[T], reason: StopReason) -> Generator[T, None, None]:
    """`items`, closed as soon as this rank is asked to stop.

    Raises:
        Stopped: it was.
    """
    try:
        while True:
            if why := reason():
                raise Stopped(why)
            try:
                item = next(items)
            except StopIteration:
                return
            yield item
    finally:
        if isinstance(items, Generator):
            items.close()


class Cursor(Protocol):
    """Something that can be put back to where it was."""

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@contextmanager
def undone_when_stopped(cursor: Cursor) -> Iterator[None]:
    """Around a step that may be abandoned: it has moved `cursor` then, which is put back, and changed nothing else."""
    before = cursor.state_dict()
    try:
        yield
    except Stopped:
        cursor.load_state_dict(before)
        raise


class RunControl:
    """What all ranks of a run agree to be asked for. Every method is collective."""

    def __init__(self, run_dir: Path, world: World, reason: StopReason = never) -> None:
        self.stop_reason = reason
        self._run_dir, self._world, self._resets = run_dir, world, ResetRequests(run_dir)

    def stop_if_asked(self) -> None:
        """
        Raises:
            Stopped: some rank was asked to; on every rank, with the first one's reason.
        """
        reasons = [reason for reason in self._world.gather(self.stop_reason()) if reason is not None]
        if reasons:
            raise Stopped(reasons[0])

    def pass_on(self, stop: Stopped) -> None:
        """Not collective: have ranks that meet others seldom learn in a second that this one is asked to stop."""
        with suppress(OSError):
            (self._run_dir / STOP_FILE).write_text(str(stop), encoding="utf-8")

    def stop_is_done(self) -> None:
        """Everything is saved: the stop file goes, so that the next start goes on."""
        if self._world.is_main:
            with suppress(OSError):
                (self._run_dir / STOP_FILE).unlink()
        self._world.barrier()

    def reset_request(self, step: int) -> ResetRequest | None:
        """What `prorl reset` has asked for since, as seen by the main rank, or None.

        A request that an earlier life of the run obeyed after this same `step`, which is being trained again, comes
        again: the run repeats itself exactly. Obey it, record it, and then call `reset_is_done`.
        """
        return self._world.broadcast(self._resets.after(step) if self._world.is_main else None)

    def reset_is_done(self, request: ResetRequest, step: int) -> None:
        """`request` was obeyed after `step`: it is put away, with a note of that."""
        if self._world.is_main:
            self._resets.put_away(request, step)
        self._world.barrier()
