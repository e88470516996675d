"""One program: compiled once, run in a process of its own for each input.

A forked process pays for every page that it touches, some microseconds each, and Python touches pages by merely looking
at its objects. So whatever can be done before the fork is done there.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import resource
import signal
import socket
import time
import types
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NoReturn

from nemo_prorl.verifiers.sandbox import frames, harness, kernel, limits, scratch
from nemo_prorl.verifiers.sandbox.contract import SandboxSettings
from nemo_prorl.verifiers.sandbox.scratch import Scratch
from nemo_prorl.verifiers.sandbox.seccomp import StrictFilter

WARM_ON_USE = ("numpy",)  # dear, and rare enough: loaded by the runner of a program that imports it
_OUR_DESCRIPTORS = 16  # and up; those below are for the program's streams
_HIGHEST_DESCRIPTOR = 256
COMPILED, STARTED = 0, 1  # flags in shared memory: the runner has said how compiling went; the program's turn has come
_LOOK_SECONDS = 0.1  # between looks at how much a program has written, where that has no other limit
_DETAIL_BYTES = 1200
_DETAIL_CHARS = 300


@dataclass(frozen=True)
class Surroundings:
    """What all programs of a sandbox share. `strict` is None where seccomp doesn't hold."""

    connection: socket.socket
    settings: SandboxSettings
    folders: Scratch
    strict: StrictFilter | None
    own_world: bool  # namespaces hold

    @classmethod
    def make(
        cls, connection: socket.socket, settings: SandboxSettings, folders: Scratch, holds: set[str]
    ) -> Surroundings:
        moved = socket.socket(fileno=fcntl.fcntl(connection, fcntl.F_DUPFD_CLOEXEC, _OUR_DESCRIPTORS))
        connection.close()
        return cls(moved, settings, folders, StrictFilter() if "seccomp" in holds else None, "namespaces" in holds)


class Runner:
    """`job` is a message from outside: source, function and budget_seconds."""

    def __init__(self, around: Surroundings, job: Mapping[str, Any]) -> None:
        self._around = around
        self._pid = os.getpid()
        self._look_seconds = math.inf if around.own_world else _LOOK_SECONDS
        self._source: str = job["source"]
        self._function: str | None = job["function"]
        self._left: float = job["budget_seconds"]
        self._file_limit = (around.settings.output_bytes, around.settings.output_bytes)
        self._streams = [str(around.folders.io / name) for name in scratch.STREAMS]
        self._output = 1 if self._function is None else harness.RESULT_DESCRIPTOR
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in range(harness.RESULT_DESCRIPTOR + 1):  # so that files opened from now on have higher numbers
            os.dup2(nowhere, number)
        if nowhere > harness.RESULT_DESCRIPTOR:
            os.close(nowhere)
        # A second line behind the clock. This process needs some too, for the compiler.
        limits.set_limit(resource.RLIMIT_CPU, 2 * math.ceil(self._left) + 2)

    def serve(self, flags: mmap.mmap) -> None:
        """Compile and say how it went, then run input after input until there is none."""
        self._flags = flags
        begun = time.monotonic()
        code, error = self._compile()
        self._left -= time.monotonic() - begun
        flags[COMPILED] = 1
        verdict = {"status": "ok"} if code is not None else {"status": "compile_error", "detail": error}
        frames.send(self._around.connection, verdict)
        os.chdir(self._around.folders.tmp)
        while code is not None:
            request, data = frames.receive(self._around.connection)
            if "end" in request:
                break
            begun = time.monotonic()
            status, output, detail = self._run(code, data)
            seconds = time.monotonic() - begun
            self._left -= seconds
            frames.send(self._around.connection, {"status": status, "seconds": seconds, "detail": detail}, output)
            self._tidy()

    def _compile(self) -> tuple[types.CodeType | None, str]:
        """The kernel ends this process when that takes longer than the budget: the compiler looks at no clock."""
        signal.setitimer(signal.ITIMER_REAL, max(self._left, 1e-3))
        try:
            code = compile(self._source, "main.py", "exec", dont_inherit=True)
            for name in WARM_ON_USE:
                if name in code.co_names:
                    with suppress(ImportError):
                        import_module(name)
            return code, ""
        except BaseException as error:
            return None, f"{type(error).__name__}: {error}"[:_DETAIL_CHARS]
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)

    def _run(self, code: types.CodeType, data: bytes) -> tuple[str, bytes, str]:
        """One input: the status, what was written, and what went wrong."""
        if self._left <= 0:
            return "timeout", b"", "no time was left"
        self._open_streams(data)
        self._flags[STARTED] = 0
        child = kernel.fork()
        if child == 0:
            self._become_child(code, data)
        exit_code = self._wait_for(child)
        most = self._around.settings.output_bytes
        size = os.fstat(self._output).st_size
        output = os.pread(self._output, min(size, most), 0)
        if exit_code is None:
            return "timeout", output, f"killed after {self._left:.1f} s"
        if not self._flags[STARTED]:
            raise OSError(f"a process for a program couldn't be made: {_last_line(2)}")
        if size >= most:
            return "output_limit", output, f"it wrote {most} bytes or more"
        if exit_code != 0:
            return "failed", output, _last_line(2) or kernel.ending(exit_code)
        return "ok", output, ""

    def _tidy(self) -> None:
        """Nothing stays in the folder for the next input. With the filter it can be read: its mode is what it was."""
        if self._around.strict is None or os.listdir(self._around.folders.tmp):
            scratch.empty(self._around.folders.tmp)

    def _open_streams(self, data: bytes) -> None:
        """New ones each time, since a program may do more to an open file than write to it. A function has no stdin
        and no stdout; its value goes where a script's output does."""
        given, output, errors = (os.open(path, os.O_RDWR | os.O_TRUNC | os.O_CLOEXEC) for path in self._streams)
        written = 0
        while written < len(data):
            written += os.pwrite(given, data[written:], written)
        if self._function is None:
            os.dup2(given, 0)
        os.dup2(output, self._output)
        os.dup2(errors, 2)
        for descriptor in (given, output, errors):
            os.close(descriptor)

    def _become_child(self, code: types.CodeType, data: bytes) -> NoReturn:
        """All that has to be done in the program's own process; SIGCHLD stays blocked, for it has no children."""
        try:
            if not self._around.own_world:
                kernel.die_with_parent(self._pid)
            if self._around.strict is None:
                os.setsid()
            os.closerange(self._output + 1 if self._function is not None else 3, _HIGHEST_DESCRIPTOR)
            resource.setrlimit(resource.RLIMIT_FSIZE, self._file_limit)
            if self._around.strict is not None:
                self._around.strict.install(os.getpid())
            self._flags[STARTED] = 1
            self._flags.close()  # the program is not to take it back
        except BaseException as error:
            os.write(2, str(error).encode())
            os._exit(harness.FAILED)
        if self._function is None:
            harness.run_script(code)
        harness.call_function(code, self._function, data.decode(errors="surrogatepass"))

    def _wait_for(self, child: int) -> int | None:
        """Its exit code, or None when it was killed since the budget was spent."""
        until = time.monotonic() + self._left
        try:
            while True:
                pid, status = os.waitpid(child, os.WNOHANG)
                if pid == child:
                    return os.waitstatus_to_exitcode(status)
                left = until - time.monotonic()
                slept_out = signal.sigtimedwait({signal.SIGCHLD}, max(0.0, min(left, self._look_seconds))) is None
                if left <= 0 or (slept_out and self._fills_the_disk()):
                    os.kill(child, signal.SIGKILL)
                    os.waitpid(child, 0)
                    return None if left <= 0 else -signal.SIGXFSZ
        finally:
            if self._around.strict is None:
                self._end_descendants(child)

    def _fills_the_disk(self) -> bool:
        """Asked where namespaces don't hold: there its folder is no file system of its own, with a size."""
        if self._around.own_world:
            return False
        settings = self._around.settings
        return scratch.holds_more_than(self._around.folders.tmp, settings.tmp_bytes, scratch.MAX_TMP_FILES)

    def _end_descendants(self, child: int) -> None:
        """The filter forbids to have any. Without it, what a program has started ends with its world or its group."""
        with suppress(ProcessLookupError, PermissionError):
            if self._around.own_world:
                os.kill(-1, signal.SIGKILL)  # all in it but this process and its first one
            else:
                os.killpg(child, signal.SIGKILL)


def _last_line(descriptor: int) -> str:
    start = max(0, os.fstat(descriptor).st_size - _DETAIL_BYTES)
    lines = os.pread(descriptor, _DETAIL_BYTES, start).decode(errors="replace").split("\n")
    return next((line.strip()[:_DETAIL_CHARS] for line in reversed(lines) if line.strip()), "")
