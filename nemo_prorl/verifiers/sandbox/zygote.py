"""The warm process that all programs are forked from.

    zygote   has imported what programs import; forks a runner for each program; compiles nothing itself
    runner   compiles one program, once; forks a child for each input, and kills it when the budget is spent
    child    runs the program on one input, under all limits, and ends

Zygote and runner hold the same end of a connection: the one takes a program from it, the other that program's inputs.
"""

from __future__ import annotations

import atexit
import gc
import mmap
import os
import random
import signal
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, NoReturn

from nemo_prorl.verifiers.sandbox import frames, kernel
from nemo_prorl.verifiers.sandbox.runner import COMPILED, Runner, Surroundings
from nemo_prorl.verifiers.sandbox.scratch import Scratch

# What programs of contests import: each test would pay for it, but each fork pays for all. Not for what is rare and
# brings much along, such as hashlib with OpenSSL.
WARM = """
    abc argparse array ast atexit base64 bisect calendar cmath collections contextlib copy dataclasses datetime decimal
    enum fractions functools gc heapq inspect io itertools json math numbers operator os queue random re sched
    statistics string struct sys textwrap threading time traceback types typing unicodedata urllib.parse
    warnings weakref zlib
"""


def warm_up() -> None:
    for name in WARM.split():
        import_module(name)
    random.seed(0)  # a program that rolls dice gets the same reward each time
    atexit._clear()  # what modules of ours want done at the end is none of a program's


class Zygote:
    """All of the process's own confinement has been put on already."""

    def __init__(self, surroundings: Surroundings) -> None:
        self._surroundings = surroundings
        self._connection = surroundings.connection
        self._flags = mmap.mmap(-1, 2)  # shared with what is forked from here; see COMPILED and STARTED

    def serve(self) -> NoReturn:
        """Take programs until the other end hangs up."""
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})  # runners wait for it
        gc.collect()
        gc.freeze()  # or the next collection would touch, and so copy, every page
        gc.disable()  # until a program's turn comes
        while True:
            try:
                job, _ = frames.receive(self._connection)
            except (EOFError, OSError):
                os._exit(0)
            self._flags[COMPILED] = 0
            zygote, runner = os.getpid(), kernel.fork()
            if runner == 0:
                self._become_runner(zygote, job)
            self._after_compiling(self._wait_for(runner))

    def _wait_for(self, runner: int) -> int:
        """How the runner ended; whatever else ends meanwhile is reaped too, as the first process of a world must."""
        while True:
            pid, status = os.wait()
            if pid == runner:
                return os.waitstatus_to_exitcode(status)

    def _after_compiling(self, code: int) -> None:
        """Answer for a runner that the compiler took down; after that point nobody knows what it has said."""
        if code == 0:
            return
        if self._flags[COMPILED]:
            os._exit(1)
        if code == -signal.SIGALRM:
            frames.send(self._connection, {"status": "timeout", "detail": "the budget was spent while it was compiled"})
        else:
            frames.send(
                self._connection, {"status": "compile_error", "detail": f"the compiler ended: {kernel.ending(code)}"}
            )

    def _become_runner(self, zygote: int, job: Mapping[str, Any]) -> NoReturn:
        try:
            kernel.die_with_parent(zygote)
            Runner(self._surroundings, job).serve(self._flags)
        except (EOFError, ConnectionError):
            os._exit(0)
        except BaseException:
            os._exit(1)
        os._exit(0)


def clean_environment(folders: Scratch) -> None:
    """What a program finds in os.environ and sys.argv: nothing of ours."""
    os.environ.clear()
    os.environ.update(PATH="/usr/bin:/bin", HOME=str(folders.tmp), TMPDIR=str(folders.tmp), LC_ALL="C.UTF-8")
    os.environ.update(OMP_NUM_THREADS="1", OPENBLAS_NUM_THREADS="1", MKL_NUM_THREADS="1", PYTHONHASHSEED="0")
    sys.argv = ["main.py"]
