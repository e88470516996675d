"""The outermost process of a sandbox: finds the layers, starts the zygote in them, and sees to it that none is left.

It runs nothing of a model's and reads nothing from the zygote. When its own parent says so or dies, it kills the
zygote, which takes the programs with it, reaps them all and removes their files.
"""

from __future__ import annotations

import os
import select
import signal
import socket
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.sandbox import confinement, frames, kernel, namespaces, privileges, runtime, scratch, zygote
from nemo_prorl.verifiers.sandbox.confinement import View
from nemo_prorl.verifiers.sandbox.contract import SandboxSettings
from nemo_prorl.verifiers.sandbox.privileges import Identity
from nemo_prorl.verifiers.sandbox.report import SandboxReport
from nemo_prorl.verifiers.sandbox.runner import Surroundings
from nemo_prorl.verifiers.sandbox.scratch import Scratch

# A scheduler's signals reach every process of a job step; how this one ends is its parent's to say.
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_LOOK_SECONDS = 1.0
_LINKS = {f"/dev/{name}": f"{scratch.IN_MEMORY.io}/{name}" for name in ("stdin", "stdout", "stderr")}


def main(connection_descriptor: int, life_descriptor: int, parent: int) -> None:
    """Serve one `Sandbox`, or, without a life to watch (-1), tell which layers hold and end."""
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    with socket.socket(fileno=connection_descriptor) as connection:
        connection.set_inheritable(False)
        hello, _ = frames.receive(connection)
        settings = settings_from_json(hello["settings"])
        identity = privileges.choose()
        view = View.of_program(settings, scratch.IN_MEMORY)
        report = confinement.find_layers(settings, identity, view)
        try:
            if life_descriptor >= 0:
                confinement.require(report, settings)
        except VerifierError as error:
            frames.send(connection, {"refused": str(error)})
            return
        if life_descriptor < 0:
            frames.send(connection, {"report": report.as_json()})
            return
        kernel.prctl(kernel.PR_SET_CHILD_SUBREAPER, 1)
        _Launcher(settings, identity, report).run(connection, life_descriptor, parent)


def settings_from_json(value: dict[str, Any]) -> SandboxSettings:
    return SandboxSettings(**{**value, "without": tuple(value["without"]), "read": tuple(map(Path, value["read"]))})


class _Launcher:
    def __init__(self, settings: SandboxSettings, identity: Identity, report: SandboxReport) -> None:
        self._settings = settings
        self._identity = identity
        self._report = report

    def run(self, connection: socket.socket, life: int, parent: int) -> None:
        """Start the zygote and outlive it."""
        on_disk = None if self._report.holds("namespaces") else self._make_folder()
        try:
            if on_disk is None:
                namespaces.begin_world(self._identity, processes=True)
            launcher = os.getpid()
            child = os.fork()
            if child == 0:
                os.close(life)
                self._become_zygote(connection, launcher, on_disk)
            connection.close()
            _watch(child, life, parent)
            _end_all(child)
        finally:
            if on_disk is not None:
                with suppress(OSError):
                    scratch.empty(on_disk)
                    on_disk.rmdir()

    def _make_folder(self) -> Path:
        """Where a program may write when it sees the host's files: named after no one, listed by no one else."""
        import tempfile  # here, since it makes every fork dearer

        place = next(filter(_is_open_to_all, (tempfile.gettempdir(), "/tmp", "/var/tmp")), None)
        folder = Path(tempfile.mkdtemp(prefix="prorl-sandbox-", dir=place if self._identity.changes else None))
        folder.chmod(0o711)
        folders = Scratch.below(folder)
        for inner in (folders.tmp, folders.io):
            inner.mkdir(0o700)
            os.chown(inner, self._identity.uid, self._identity.gid)
        return folder

    def _become_zygote(self, connection: socket.socket, launcher: int, on_disk: Path | None) -> NoReturn:
        try:
            folders = scratch.IN_MEMORY if on_disk is None else Scratch.below(on_disk)
            zygote.warm_up()
            paths = runtime.import_paths()
            view = View.of_program(self._settings, folders)
            confinement.put_on(self._report, self._settings, self._identity, view, _LINKS)
            # Only now: a change of user takes it back. In a world of its own, a process has no parent's number.
            kernel.die_with_parent(launcher if on_disk is not None else 0)
            sys.path[:] = paths
            zygote.clean_environment(folders)
            os.chdir(folders.tmp)
            holds: set[str] = {layer.name for layer in self._report.layers if layer.holds}
            surroundings = Surroundings.make(connection, self._settings, folders, holds)
            frames.send(surroundings.connection, {"report": self._report.as_json()})
        except BaseException as error:
            frames.send(connection, {"refused": f"the sandbox can't start: {type(error).__name__}: {error}"})
            os._exit(1)
        zygote.Zygote(surroundings).serve()


def _is_open_to_all(folder: str) -> bool:
    """Whether another user finds what is in it."""
    return all(part.stat().st_mode & 1 for part in (Path(folder), *Path(folder).parents))


def _watch(child: int, life: int, parent: int) -> None:
    """Wait until the child has ended, the parent has, or the parent says that it is over."""
    poll = select.poll()
    poll.register(life, select.POLLIN)
    descriptors = []
    for pid in (child, parent):
        with suppress(OSError, AttributeError):  # gone, or Linux or Python is older: looked at now and then
            descriptors.append(os.pidfd_open(pid))
            poll.register(descriptors[-1], select.POLLIN)
    timeout_ms = None if len(descriptors) == 2 else _LOOK_SECONDS * 1000
    while not poll.poll(timeout_ms):
        if os.getppid() != parent or os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
            break
    for descriptor in descriptors:
        os.close(descriptor)


def _end_all(child: int) -> None:
    """Kill and reap the zygote and what it leaves: as its subreaper, this process inherits that."""
    with suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    while True:
        for pid in _children():
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        try:
            if os.waitpid(-1, os.WNOHANG) == (0, 0):
                time.sleep(0.002)
        except ChildProcessError:
            return


def _children() -> list[int]:
    try:
        return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
    except OSError:
        return []
