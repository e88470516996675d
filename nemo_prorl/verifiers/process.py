"""The pool's side of its processes: the fork server, and one handle for each worker."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import IO, Any

from pydantic import TypeAdapter

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers import wire
from nemo_prorl.verifiers.sandbox import SandboxReport, SandboxSettings, kernel

START_SECONDS = 120.0  # for an interpreter, and for a verifier's imports, on a busy machine
CLOSE_SECONDS = 2.0
MAX_REPLY_BYTES = 1 << 20
_MODULE = "nemo_prorl.verifiers.fork_server"

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


class ForkServerDiedError(Exception):
    """It took its workers along, so nothing that they were asked is answered."""


class ForkServer:
    """One process in its own session, which any thread may ask. It ends with this process, however that ends.

    Raises:
        VerifierError: it can't start, with the end of what it wrote to standard error.
    """

    def __init__(self, table: Mapping[str, str], sandbox: SandboxSettings) -> None:
        self._lock = threading.Lock()
        self._confined: dict[str, bool] = {}
        self._folder = tempfile.TemporaryDirectory(prefix="prorl-verifiers-", ignore_cleanup_errors=True)
        os.chmod(self._folder.name, 0o711)  # a worker may be another user, and has a folder of its own in it
        self._log: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._control, theirs = socket.socketpair()
        self._control.setblocking(False)
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
            self._give_back()
            raise VerifierError(f"a verifier process can't start: {error}; lower verifiers.workers?") from error
        finally:
            theirs.close()
        hello = {
            "table": dict(table),
            "sandbox": TypeAdapter(SandboxSettings).dump_python(sandbox, mode="json"),
            "folder": self._folder.name,
        }
        try:
            self.report = SandboxReport.from_json(self._ask(hello)["report"])
        except (ForkServerDiedError, TimeoutError) as error:
            said = self._said()
            self.close()
            raise VerifierError(
                f"a verifier process can't start ({str(error) or f'not up after {START_SECONDS:g} s'}); it was "
                f"started as {sys.executable} -P -m {_MODULE} and wrote:\n{said}"
            ) from error

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def load(self, verifier: str) -> bool:
        """Have it import a verifier, unless it has; gives whether that verifier's workers are to be confined.

        Raises:
            VerifierError: it can't; for example a package that the verifier needs isn't installed.
        """
        with self._lock:
            if verifier not in self._confined:
                try:
                    reply = self._ask({"load": verifier})
                except TimeoutError:
                    raise not_made(verifier, f"not after {START_SECONDS:g} s") from None
                except ForkServerDiedError as error:
                    raise not_made(verifier, f"{error}; it wrote:\n{self._said()}") from error
                if "loaded" not in reply:
                    raise not_made(verifier, reply.get("failed", reply))
                self._confined[verifier] = reply["confined"]
            return self._confined[verifier]

    def fork(self, connection: socket.socket, confined: bool) -> int:
        """A new worker at the other end of `connection`; gives its number.

        Raises:
            ForkServerDiedError: the server is gone.
        """
        with self._lock:
            try:
                pid: int = self._ask({"confined": confined}, connection.fileno())["worker"]
            except TimeoutError as error:
                raise ForkServerDiedError("the fork server doesn't answer") from error
            return pid

    def end(self, pid: int) -> str:
        """Kill a worker and all that it started; gives how it ended."""
        with self._lock:
            try:
                return str(self._ask({"end": pid})["ended"])
            except (ForkServerDiedError, TimeoutError):
                return "with its fork server"  # workers die with it

    def close(self) -> None:
        """End it and all its workers, and give back what it held here; from any thread."""
        with suppress(OSError):  # closed before
            self._control.shutdown(socket.SHUT_WR)  # it ends its workers, and then itself
        self._process.terminate()  # it learns of that now, whatever it is at
        try:
            self._process.wait(CLOSE_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        with self._lock:  # whoever waits for an answer learns now that there is none
            self._give_back()

    def _give_back(self) -> None:
        self._control.close()
        self._log.close()
        self._folder.cleanup()

    def _ask(self, request: Mapping[str, Any], descriptor: int | None = None) -> dict[str, Any]:
        until = time.monotonic() + START_SECONDS
        try:
            wire.send(self._control, request, until, descriptor)
            reply: dict[str, Any] = wire.receive(self._control, until, MAX_REPLY_BYTES)
        except TimeoutError:
            self._process.kill()  # or its late answer would be taken for that to the next question
            raise
        except (EOFError, OSError, ValueError) as error:
            self._process.kill()
            raise ForkServerDiedError(kernel.ending(self._process.wait())) from error
        return reply

    def _said(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:].decode(errors="replace").strip() or "(nothing)"


class WorkerProcess:
    """One worker, asked by one thread; only `ForkServer.close` may end it from another.

    Raises:
        ForkServerDiedError: its server is gone.
        VerifierError: it doesn't come up, or can't be confined as its server has found possible.
    """

    def __init__(self, server: ForkServer, *, confined: bool, deadline_seconds: float) -> None:
        self._server = server
        self._deadline_seconds = deadline_seconds
        self._loaded: set[str] = set()
        self._ended: str | None = None
        self._connection, theirs = socket.socketpair()
        self._connection.setblocking(False)
        self.answered = 0
        try:
            self._pid = server.fork(theirs, confined)
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()
        try:
            greeting = self._receive(time.monotonic() + START_SECONDS)
            if "ready" not in greeting:
                raise VerifierError(f"a verifier process can't be confined: {greeting.get('failed', greeting)}")
        except (WorkerDiedError, TimeoutError) as error:
            self.end()
            why = str(error) or f"not up after {START_SECONDS:g} s"
            raise VerifierError(f"a verifier process can't start: {why}") from error
        except BaseException:
            self.end()
            raise

    def load(self, verifier: str) -> None:
        """Have it make a verifier, unless it has.

        Raises:
            VerifierError: it can't.
        """
        if verifier in self._loaded:
            return
        try:
            reply = self._ask({"load": True, "verifier": verifier}, START_SECONDS)
        except TimeoutError:
            self.end()
            raise not_made(verifier, f"not after {START_SECONDS:g} s") from None
        except WorkerDiedError as error:
            raise not_made(verifier, error) from error
        if "loaded" not in reply:
            raise not_made(verifier, reply.get("failed", reply))
        self._loaded.add(verifier)

    def judge(self, verifier: str, reference: Mapping[str, Any], text: str) -> dict[str, Any]:
        """Its reply: reward, reason and outcome, or what the verifier `raised`.

        Raises:
            TimeoutError: no reply within the deadline; the process is still busy and has to be ended.
            WorkerDiedError: no reply ever, or none that makes sense; the process has ended.
            ForkServerDiedError: nor from any other.
            TypeError, ValueError: the reference isn't JSON; nothing was asked.
        """
        reply = self._ask({"verifier": verifier, "reference": reference, "text": text}, self._deadline_seconds)
        self.answered += 1
        return reply

    @property
    def is_idle(self) -> bool:
        """Whether it lives and waits to be asked. One that was killed while it waited says so by an end of file."""
        if self._ended is not None:
            return False
        try:
            self._connection.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        except OSError:
            return False
        return False

    def end(self) -> str:
        """Kill it and give back what it held here; gives how it ended."""
        if self._ended is None:  # its number may be another worker's by now
            self._connection.close()
            self._ended = self._server.end(self._pid)
        return self._ended

    def _ask(self, request: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        until = time.monotonic() + seconds
        try:
            wire.send(self._connection, {**request, "cpu_seconds": 2 * seconds + 30}, until)
        except TimeoutError:
            raise
        except OSError as error:
            raise self._died() from error
        return self._receive(until)

    def _died(self) -> Exception:
        how = self.end()
        if not self._server.is_alive:
            return ForkServerDiedError("the fork server has ended")
        return WorkerDiedError(f"the verifier process ended: {how}")

    def _receive(self, until: float) -> dict[str, Any]:
        try:
            reply = wire.receive(self._connection, until, MAX_REPLY_BYTES)
            if not isinstance(reply, dict):
                raise ValueError(repr(str(reply)[:100]))
        except TimeoutError:
            raise
        except (EOFError, OSError) as error:
            raise self._died() from error
        except (ValueError, RecursionError) as error:
            self.end()  # who has said one thing that makes no sense may say another
            raise WorkerDiedError(f"the verifier process answered with {error}") from error
        return reply


def not_made(verifier: str, why: object) -> VerifierError:
    return VerifierError(f"verifier {verifier!r} can't be made: {why}; see its module")


def _environment() -> dict[str, str]:
    kept = {name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)  # plug-ins are found where we find them
    return {**kept, **_FIXED_ENVIRONMENT, "PYTHONPATH": path}
