"""Which layers this host allows, found by trying each in a process of its own, and putting them on, in order."""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, get_args

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.sandbox import (
    advice,
    kernel,
    landlock,
    limits,
    namespaces,
    privileges,
    runtime,
    scratch,
    seccomp,
)
from nemo_prorl.verifiers.sandbox.contract import Layered, SandboxSettings
from nemo_prorl.verifiers.sandbox.privileges import Identity
from nemo_prorl.verifiers.sandbox.report import Layer, LayerName, SandboxReport
from nemo_prorl.verifiers.sandbox.scratch import Scratch

_TRY_SECONDS = 60
_OWN_THREADS = 4  # of a sandbox itself, beside those of a program


@dataclass(frozen=True)
class View:
    """What a confined process sees of the file system, and where it may write."""

    visible: Sequence[Path]
    own: Path | None = None
    streams: Path | None = None  # a folder of files for its streams; it can't make others there

    @classmethod
    def of_program(cls, settings: SandboxSettings, folders: Scratch) -> View:
        return cls(runtime.readable_paths(settings.read), folders.tmp, folders.io)

    @property
    def folders(self) -> list[Path]:
        return [folder for folder in (self.own, self.streams) if folder is not None]


def find_layers(settings: SandboxSettings, identity: Identity, view: View) -> SandboxReport:
    """Try every layer but those that the settings do without."""
    if sys.platform != "linux":
        missing = f"needs Linux, this is {sys.platform}"
        return SandboxReport(tuple(Layer(name, False, missing) for name in get_args(LayerName)))
    return SandboxReport(
        (
            _try("namespaces", settings, lambda: _try_namespaces(settings, identity, view)),
            _try("landlock", settings, _try_landlock),
            _try("seccomp", settings, _try_seccomp),
            _told_identity(identity),
            Layer(
                "rlimits",
                True,
                f"{settings.memory_bytes >> 20} MiB of memory, {settings.output_bytes >> 20} MiB a file",
            ),
        )
    )


def require(report: SandboxReport, settings: SandboxSettings) -> None:
    """Raises:
    VerifierError: less holds than is demanded, and the settings don't allow that.
    """
    if sys.platform != "linux":
        raise VerifierError(f"programs that a model writes are run on Linux only, this is {sys.platform}")
    if report.satisfies(settings.level) or settings.allow_unconfined:
        return
    raise VerifierError(
        f"no sandbox for programs that a model writes: this host allows level {report.level!r}, "
        f"level={settings.level!r} is demanded\n{report.describe()}\n{report.advice()}\n"
        f"Or, only if what runs is trusted: allow_unconfined=true"
    )


def put_on(
    report: SandboxReport, settings: SandboxSettings, identity: Identity, view: View, links: dict[str, str]
) -> None:
    """Confine this process, in the layers that the report says hold; the world of `namespaces` has begun already.

    Raises:
        OSError, VerifierError: a layer that held when it was tried doesn't now.
    """
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    owner = identity.uid if identity.changes else -1
    if report.holds("namespaces"):
        namespaces.enter(view.visible, view.folders, links, tmp_bytes=settings.tmp_bytes, owner=owner)
    if view.streams is not None:
        scratch.make_streams(view.streams, owner)
    counted_apart = identity.is_counted_apart(report.holds("namespaces"))
    limits.apply(settings, threads=settings.max_threads + _OWN_THREADS if counted_apart else None)
    if report.holds("landlock"):
        landlock.restrict(_rules(view))
    needs = os.path.join(sysconfig.get_path("stdlib"), "os.py")
    guarded = report.holds("landlock") or settings.allow_unconfined
    privileges.drop(identity, needs, files_are_guarded=guarded)
    if report.holds("seccomp"):
        seccomp.install_base()


def _rules(view: View) -> list[tuple[Path, int]]:
    rules = [(path, landlock.READ) for path in view.visible]
    rules += [(device, landlock.USE_FILE) for device in runtime.DEVICES]
    rules += [(view.own, landlock.OWN)] if view.own else []
    return rules + ([(view.streams, landlock.USE_FILE)] if view.streams else [])


def _try(name: Layered, settings: SandboxSettings, attempt: Callable[[], str]) -> Layer:
    if name in settings.without:
        return Layer(name, False, "the settings go without it", f"remove {name!r} from `without`")
    found, text = in_child(attempt)
    return Layer(name, found, text, "" if found else advice.of(name, text))


def in_child(attempt: Callable[[], str]) -> tuple[bool, str]:
    """What `attempt` returns in a process of its own, or what it raises."""
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(_TRY_SECONDS)  # whatever a host makes of it, nobody waits for ever
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)  # the first process of a world hears no alarm
        _answer(attempt, write_end)
    os.close(write_end)
    with open(read_end, "rb") as answer:
        said = answer.read()
    _, status = os.waitpid(child, 0)
    if not said:
        code = os.waitstatus_to_exitcode(status)
        late = code == -signal.SIGALRM
        return False, f"not within {_TRY_SECONDS} s" if late else f"the process that tried it ended with {code}"
    return said[:1] == b"+", said[1:].decode(errors="replace")


def _answer(attempt: Callable[[], str], descriptor: int) -> NoReturn:
    try:
        answer = "+" + attempt()
    except BaseException as error:
        answer = f"-{error}" if isinstance(error, OSError) else f"-{type(error).__name__}: {error}"
    os.write(descriptor, answer.encode(errors="replace")[:4000])
    os._exit(0)


def _try_namespaces(settings: SandboxSettings, identity: Identity, view: View) -> str:
    how = "made by root" if privileges.is_privileged(identity) else "user namespace"  # asked outside of it
    namespaces.begin_world(identity, processes=True)

    def enter() -> str:
        owner = identity.uid if identity.changes else -1
        namespaces.enter(view.visible, view.folders, {}, tmp_bytes=settings.tmp_bytes, owner=owner)
        if os.getpid() != 1 or os.path.exists("/proc/self"):
            raise OSError("they were made, but the host still shows through")
        return f"no network, own processes, {len(view.visible)} read-only views, {settings.tmp_bytes >> 20} MiB of tmp"

    found, text = in_child(enter)
    if not found:
        raise OSError(text)
    return f"{text} ({how})"


def _try_landlock() -> str:
    abi = landlock.version()
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    landlock.restrict([(Path(os.__file__), landlock.READ)])
    with open(os.__file__, "rb"):
        pass
    try:
        os.close(os.open("/", os.O_RDONLY))
    except PermissionError:
        return landlock.describe(abi)
    raise OSError("it was put on, but what it forbids can still be opened")


def _try_seccomp() -> str:
    kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    try:
        seccomp.install_base()
        seccomp.StrictFilter().install(os.getpid())
    except KeyError:
        raise OSError(f"no table of system calls for {kernel.machine()}") from None
    for forbidden in (lambda: socket.socket(socket.AF_UNIX), os.fork):
        try:
            if forbidden() == 0:
                os._exit(0)
        except PermissionError as error:
            if error.errno == errno.EPERM:
                continue
        raise OSError("it was put on, but what it forbids still goes")
    return "no sockets, no other programs or processes, no tracing, no signals out"


def _told_identity(identity: Identity) -> Layer:
    if identity.changes:
        return Layer("unprivileged", True, f"user {identity.uid} instead of root, no capabilities")
    if os.geteuid() == 0:
        return Layer("unprivileged", True, "root of a container without other users, but no capabilities")
    return Layer("unprivileged", True, f"user {os.geteuid()}, no capabilities")
