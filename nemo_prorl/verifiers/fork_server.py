"""The process that a pool's workers are forked from: `python -m nemo_prorl.verifiers.fork_server <socket> <parent>`.

It imports each verifier's module once, so that a fresh worker costs milliseconds instead of the seconds that algebra
systems take to start; that makes it cheap to kill what hangs and to recycle what has grown. It never sees a text of a
model: those go from the pool straight to the workers. It alone may kill a worker, since it alone knows that a number
still means that worker. It ends, and all workers with it, when its parent closes the connection or dies.
"""

from __future__ import annotations

import gc
import os
import shutil
import signal
import socket
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp
from types import FrameType
from typing import Any, NoReturn

from pydantic import TypeAdapter

from nemo_prorl.errors import ConfigError
from nemo_prorl.plugins import resolve
from nemo_prorl.verifiers import wire, worker
from nemo_prorl.verifiers.sandbox import SandboxSettings, kernel, probe
from nemo_prorl.verifiers.worker import Confinement


def main(descriptor: int, parent: int) -> None:
    """Serve the pool at the other end of `descriptor` until it hangs up."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # Slurm sends a run's signals to whatever the run has started
    kernel.die_with_parent(parent, signal.SIGTERM)
    with socket.socket(fileno=descriptor) as control:
        control.set_inheritable(False)
        try:
            hello = wire.receive(control)
            settings = TypeAdapter(SandboxSettings).validate_python(hello["sandbox"])
            server = _ForkServer(control, hello["table"], settings, Path(hello["folder"]), parent)
            signal.signal(signal.SIGTERM, server.leave_if_alone)
            wire.send(control, {"report": server.report.as_json()})
        except (EOFError, ConnectionError):
            return
        try:
            server.serve()
        except (EOFError, ConnectionError):  # the pool is gone, or has closed
            server.leave()


class _ForkServer:
    def __init__(
        self, control: socket.socket, table: Mapping[str, str], settings: SandboxSettings, folder: Path, parent: int
    ) -> None:
        self.report = probe(replace(settings, allow_unconfined=True))
        self._control = control
        self._table = table
        self._confinement = Confinement(settings, self.report)
        self._folder = folder
        self._own, self._parent = os.getpid(), parent
        self._workers: dict[int, Path | None] = {}  # and where each may write

    def serve(self) -> NoReturn:
        while True:
            request, descriptor = wire.receive_with_descriptor(self._control)
            if descriptor is not None:
                wire.send(self._control, {"worker": self._fork(descriptor, request["confined"])})
            elif "end" in request:
                wire.send(self._control, {"ended": self._end(request["end"])})
            else:
                wire.send(self._control, self._load(request["load"]))

    def leave_if_alone(self, number: int, frame: FrameType | None) -> None:
        """The parent's death sends this signal, and a pool that has hung up does. So may Slurm, to all that a run has
        started: that is the run's own business. Workers inherit this, and go on."""
        if os.getpid() == self._own and (os.getppid() != self._parent or self._has_hung_up()):
            self.leave()

    def _has_hung_up(self) -> bool:
        try:
            return not self._control.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except OSError:
            return True

    def leave(self) -> NoReturn:
        for pid in list(self._workers):
            with suppress(OSError):
                os.killpg(pid, signal.SIGKILL)
        os._exit(0)

    def _load(self, verifier: str) -> dict[str, Any]:
        """Import its module; its object is made in each worker, which doesn't inherit threads, only memory."""
        try:
            found = resolve(verifier, self._table, "verifier")
            warm_up = getattr(found, "warm_up", None)
            if warm_up is not None:
                warm_up()
        except Exception as error:
            return {"failed": str(error) if isinstance(error, ConfigError) else worker.told(error)}
        threads = kernel.thread_count()
        if threads > 1:
            return {
                "failed": f"its module has started {threads - 1} threads, which a forked process doesn't inherit; "
                f"start them in __init__ instead"
            }
        gc.collect()
        gc.freeze()  # or the next collection would touch, and so copy, every page that a worker shares
        return {"loaded": verifier, "confined": bool(getattr(found, "confined", True))}

    def _fork(self, descriptor: int, confined: bool) -> int:
        tmp = Path(mkdtemp(dir=self._folder)) if confined else None
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            try:
                self._control.close()
                os.setsid()
                worker.main(descriptor, server, self._table, self._confinement, tmp)
            except BaseException:
                os._exit(1)
            os._exit(0)
        os.close(descriptor)
        self._workers[pid] = tmp
        return pid

    def _end(self, pid: int) -> str:
        """How a worker ended, by our hand if not by itself."""
        if pid not in self._workers:
            return "earlier"
        with suppress(ProcessLookupError, PermissionError):  # the group may be empty while its leader is a zombie
            os.killpg(pid, signal.SIGKILL)
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)  # it may be killed before it had a group of its own
        _, status = os.waitpid(pid, 0)
        tmp = self._workers.pop(pid)
        if tmp is not None:
            shutil.rmtree(tmp, ignore_errors=True)
        return kernel.ending(os.waitstatus_to_exitcode(status))


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
