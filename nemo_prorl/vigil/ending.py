"""How a process ends that doesn't come to its end by itself."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import NoReturn

from nemo_prorl.errors import ProRLError
from nemo_prorl.patience import ended_within
from nemo_prorl.telemetry.process_identity import ProcessIdentity
from nemo_prorl.vigil.stacks import DUMP_SIGNAL

WRITING_SECONDS = 5.0
WAKING_SECONDS = 3.0


def end_process(error: ProRLError, on_end: Callable[[ProRLError], None]) -> NoReturn:
    """End this process with the error's exit code. Nothing is closed; whatever is on the disk is as after kill -9.

    `on_end` gets a few seconds, in a thread: the main one may be stuck with a lock that it needs.
    """
    try:
        ended_within(WRITING_SECONDS, partial(on_end, error))
    finally:  # whatever it raises
        os._exit(error.exit_code)


def force_out(process: ProcessIdentity) -> None:
    """End a rank that hangs, if it is on this host: awake, it ends itself; else its stacks are dumped and it is killed.

    The number and the starting time must be the rank's: nothing is ended that isn't ours.
    """
    with suppress(OSError):
        for number, seconds in ((signal.SIGCONT, WAKING_SECONDS), (DUMP_SIGNAL, 1.0), (signal.SIGKILL, 0.0)):
            if not process.is_here or not process.is_running:
                return
            os.kill(process.pid, number)
            until = time.monotonic() + seconds
            while process.is_running and time.monotonic() < until:
                time.sleep(0.05)
