"""Stacks of all threads, written into a rank's log, also when its interpreter is stuck."""

from __future__ import annotations

import faulthandler
import os
import signal
from contextlib import suppress
from pathlib import Path

# Written by the signal's handler itself, without the interpreter: for a rank that a peer on its host asks.
DUMP_SIGNAL = signal.SIGRTMIN + 5


class Stacks:
    """Where this rank's stacks go: to its log, or to standard error while it has none."""

    def __init__(self) -> None:
        self._file = os.dup(2)
        self._log: Path | None = None

    def go_to(self, log: Path) -> None:
        """From now on, to the end of `log`."""
        if log == self._log:
            return
        self._log = log
        with suppress(OSError):
            opened = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            os.dup2(opened, self._file)
            os.close(opened)

    def dump(self) -> None:
        faulthandler.dump_traceback(self._file, all_threads=True)

    def write(self, line: str) -> None:
        with suppress(OSError):
            os.write(self._file, line.encode("utf-8", "backslashreplace"))

    def open(self) -> None:
        faulthandler.register(DUMP_SIGNAL, self._file, all_threads=True)

    def dump_unless_called_within(self, seconds: float) -> None:
        """Dump so much later, though no line of Python may run any more; each call puts it off.

        It doesn't end the process: its clock goes on while the process is suspended, and is quicker than whoever would
        put it off when the process goes on. A rank that is stuck like that is silent, and others see it.
        """
        faulthandler.dump_traceback_later(seconds, exit=False, file=self._file)

    def close(self) -> None:
        faulthandler.cancel_dump_traceback_later()
        faulthandler.unregister(DUMP_SIGNAL)
        os.close(self._file)
