"""The pool's side of one worker process: start it, ask it, end it. Used by one thread, except for `kill`."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers import wire

START_SECONDS = 120.0  # for an interpreter, and for a verifier's imports, on a busy machine
MAX_REPLY_BYTES = 1 << 20
_MODULE = "nemo_prorl.verifiers.worker"

# All else stays here: what judges a model's text has no use for tokens and keys.
_ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "VIRTUAL_ENV")
_FIXED_ENVIRONMENT = {
    "PYTHONHASHSEED": "0",  # some scorers walk through sets: the same order for every worker
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
}


class WorkerDiedError(Exception):
    """The process ended, or says what it shouldn't, instead of answering. The message says how."""


class WorkerProcess:
    """One process in its own session, so that it and what it started can be killed together."""

    def __init__(self, table: Mapping[str, str], deadline_seconds: float) -> None:
        self._table = dict(table)
        self._deadline_seconds = deadline_seconds
        self._loaded: set[str] = set()
        self._reaping = threading.Lock()
        self.answered = 0
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `end`
        self._connection, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", _MODULE, str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self._log,
                env=_environment(),
                start_new_session=True,
            )
        except OSError as error:
            self._connection.close()
            self._log.close()
            raise VerifierError(f"a verifier process can't start: {error}; lower verifiers.workers?") from error
        finally:
            theirs.close()

    def greet(self) -> None:
        """Wait until it is up.

        Raises:
            VerifierError: it isn't, with the end of what it wrote to standard error.
        """
        until = time.monotonic() + START_SECONDS
        try:
            wire.send(self._connection, {"table": self._table}, until)
            wire.receive(self._connection, until, MAX_REPLY_BYTES)
        except (EOFError, OSError, ValueError) as error:
            how = self._reap() if not isinstance(error, TimeoutError) else f"not up after {START_SECONDS:g} s"
            self._log.seek(0)
            said = self._log.read()[-2000:].decode(errors="replace").strip()
            self.end()
            raise VerifierError(
                f"a verifier process can't start ({how}); it was started as {sys.executable} -P -m {_MODULE} and "
                f"wrote:\n{said or '(nothing)'}"
            ) from error
        self._log.close()

    def load(self, verifier: str) -> None:
        """Have it make a verifier, unless it has.

        Raises:
            VerifierError: it can't; for example a package that the verifier needs isn't installed.
        """
        if verifier in self._loaded:
            return
        try:
            reply = self._ask({"load": True, "verifier": verifier}, START_SECONDS)
        except TimeoutError:
            raise VerifierError(f"verifier {verifier!r} isn't made after {START_SECONDS:g} s; see its module") from None
        except WorkerDiedError as error:
            raise VerifierError(f"verifier {verifier!r} can't be made: {error}; see its module") from error
        if "loaded" not in reply:
            raise VerifierError(f"verifier {verifier!r} can't be made: {reply.get('failed', reply)}")
        self._loaded.add(verifier)

    def judge(self, verifier: str, reference: Mapping[str, Any], text: str) -> dict[str, Any]:
        """Its reply: reward, reason and outcome, or what the verifier `raised`.

        Raises:
            TimeoutError: no reply within the deadline; the process is still busy and has to be ended.
            WorkerDiedError: no reply ever.
            TypeError, ValueError: the reference isn't JSON; nothing was asked.
        """
        reply = self._ask({"verifier": verifier, "reference": reference, "text": text}, self._deadline_seconds)
        self.answered += 1
        return reply

    @property
    def is_idle(self) -> bool:
        """Whether it lives and waits to be asked. One that was killed while it waited says so by an end of file."""
        self._connection.settimeout(0)
        try:
            self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def kill(self) -> None:
        """Kill it and all that it started; from any thread."""
        with self._reaping:
            if self._process.returncode is None:  # else the number may already be someone else's
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(self._process.pid, signal.SIGKILL)

    def end(self) -> None:
        """Kill it, wait for it, and give back what it held here. A second call does nothing."""
        self._reap()
        self._connection.close()
        self._log.close()

    def _reap(self) -> str:
        """How it ended, by our hand if not by itself."""
        self.kill()
        with self._reaping:
            code = self._process.wait()
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def _ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        until = time.monotonic() + seconds
        try:
            wire.send(self._connection, {**request, "cpu_seconds": 2 * seconds + 30}, until)
            reply = self._reply(until)
        except TimeoutError:
            raise
        except (EOFError, OSError) as error:
            raise WorkerDiedError(f"the verifier process ended: {self._reap()}") from error
        if not isinstance(reply, dict):
            raise WorkerDiedError(f"the verifier process answered {str(reply)[:100]!r}")
        return reply

    def _reply(self, until: float) -> Any:
        try:
            return wire.receive(self._connection, until, MAX_REPLY_BYTES)
        except (ValueError, RecursionError) as error:
            raise WorkerDiedError(f"the verifier process answered with {error}") from error


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # plug-ins are found where we find them
    return {**kept, **_FIXED_ENVIRONMENT, "PYTHONPATH": path}
