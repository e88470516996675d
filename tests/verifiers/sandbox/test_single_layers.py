"""Each layer by itself, on processes that would get through without it."""

import codecs
import errno
import os
import signal
import socket
import threading
from pathlib import Path

import pytest

from nemo_prorl.verifiers.sandbox import (
    SandboxSettings,
    advice,
    kernel,
    landlock,
    limits,
    namespaces,
    privileges,
    seccomp,
)


def name_of(attempt):
    """The name of the error, or 'went'."""
    try:
        attempt()
    except OSError as error:
        return errno.errorcode[error.errno]
    return "went"


def test_landlock_opens_what_it_is_told_and_no_more(needs, in_a_process, tmp_path):
    needs("landlock")
    open_to_all, own = tmp_path / "read", tmp_path / "own"
    open_to_all.mkdir()
    own.mkdir()
    (open_to_all / "file").write_text("x")
    (tmp_path / "secret").write_text("x")

    def attempt():
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        landlock.restrict([(open_to_all, landlock.READ), (own, landlock.OWN), (Path("/not/there"), landlock.READ)])
        return [
            name_of(lambda: (open_to_all / "file").read_text()),
            name_of(lambda: (own / "file").write_text("x")),
            name_of(lambda: (own / "folder").mkdir()),
            name_of(lambda: (own / "file").rename(own / "folder" / "file")),
            name_of(lambda: (open_to_all / "file").write_text("y")),
            name_of(lambda: (open_to_all / "other").write_text("y")),
            name_of(lambda: (open_to_all / "file").unlink()),
            name_of(lambda: (tmp_path / "secret").read_text()),
            name_of(lambda: os.listdir(tmp_path)),
            name_of(lambda: os.open("/proc/self/environ", os.O_RDONLY)),
        ]

    assert in_a_process(attempt) == str(["went"] * 4 + ["EACCES"] * 6)
    assert (open_to_all / "file").read_text() == "x"


def test_landlock_of_a_later_kernel_stops_tcp_signals_and_abstract_sockets(needs, in_a_process):
    needs("landlock")
    if landlock.version() < 6:
        pytest.skip(f"this kernel has {landlock.describe(landlock.version())}")
    with socket.create_server(("127.0.0.1", 0)) as port, socket.socket(socket.AF_UNIX) as abstract:
        abstract.bind(f"\0prorl-{os.getpid()}")
        abstract.listen()
        codecs.lookup("idna")  # in which socket writes host names; it couldn't be imported later

        def attempt():
            kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
            landlock.restrict([])
            unix = socket.socket(socket.AF_UNIX)
            return [
                name_of(lambda: socket.create_connection(port.getsockname(), 2)),
                name_of(lambda: unix.connect(f"\0prorl-{os.getppid()}")),
                name_of(lambda: os.kill(os.getppid(), 0)),
            ]

        assert in_a_process(attempt) == str(["EACCES", "EPERM", "EPERM"])


def test_namespaces_alone_hide_files_network_and_processes(needs, in_a_process, tmp_path):
    needs("namespaces")
    (tmp_path / "shown").mkdir()
    (tmp_path / "shown" / "file").write_text("seen")
    (tmp_path / "hidden").write_text("x")
    (tmp_path / "alias").symlink_to("shown")
    own = tmp_path / "own"
    identity = privileges.choose()

    def inside():
        visible = [tmp_path / "shown", tmp_path / "alias"]
        namespaces.enter(visible, [own], {"/dev/stdin": "/io/stdin"}, tmp_bytes=1 << 20, owner=-1)
        (own / "file").write_text("x")
        return [
            (tmp_path / "alias" / "file").read_text(),
            sorted(os.listdir(tmp_path)),
            os.listdir("/proc") if os.path.exists("/proc") else [],
            os.readlink("/dev/stdin"),
            socket.if_nameindex(),
            name_of(lambda: (tmp_path / "shown" / "file").write_text("y")),
            name_of(lambda: (tmp_path / "other").write_text("y")),
            name_of(lambda: (own / "large").write_bytes(bytes(2 << 20))),
            name_of(lambda: own.rename(tmp_path / "elsewhere")),
            os.getpid(),
        ]

    def outside():
        namespaces.begin_world(identity, processes=True)
        return in_a_process(inside)

    found = "['seen', ['alias', 'own', 'shown'], [], '/io/stdin', [(1, 'lo')], 'EROFS', 'EROFS', 'ENOSPC', 'EROFS', 1]"
    assert in_a_process(outside) == found
    assert sorted(os.listdir(tmp_path)) == ["alias", "hidden", "shown"]


def test_namespaces_refuse_to_hide_what_a_program_needs(needs, in_a_process, tmp_path):
    needs("namespaces")
    packages = tmp_path / "venv" / "lib"
    packages.mkdir(parents=True)

    def attempt():
        namespaces.begin_world(privileges.choose(), processes=False)
        namespaces.enter([packages], [tmp_path], {}, tmp_bytes=1 << 20, owner=-1)

    said = in_a_process(attempt)
    assert said == f"OSError: {packages} would be hidden by {tmp_path}, which is a program's own and empty"
    assert "virtual environment" in advice.of("namespaces", said)


def test_seccomp_alone_stops_sockets_programs_and_processes(needs, in_a_process, tmp_path):
    needs("seccomp")
    (tmp_path / "file").write_text("x")
    mode = (tmp_path / "file").stat().st_mode

    def attempt():
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
        seccomp.install_base()
        forked = os.fork()
        if forked == 0:
            os._exit(0)
        seccomp.StrictFilter().install(os.getpid())
        thread = threading.Thread(target=os.waitpid, args=(forked, 0))
        thread.start()
        thread.join()
        return [
            name_of(lambda: socket.socket(socket.AF_UNIX)),
            name_of(lambda: os.execv("/bin/true", ["true"])),
            name_of(os.fork),
            name_of(lambda: os.kill(os.getppid(), 0)),
            name_of(lambda: os.kill(os.getpid(), 0)),
            name_of(lambda: kernel.unshare(kernel.CLONE_NEWUSER)),
            name_of(lambda: os.chmod(tmp_path / "file", 0)),
        ]

    assert in_a_process(attempt) == str(["EPERM"] * 4 + ["went", "EPERM", "went"])
    assert (tmp_path / "file").stat().st_mode == mode


def test_limits_are_never_raised_again(host, in_a_process):
    def attempt():
        limits.apply(SandboxSettings(memory_bytes=256 << 20, max_open_files=20), threads=None)
        try:
            bytearray(300 << 20)
        except MemoryError:
            pass
        else:
            return "300 MiB were given"
        opened = [name_of(lambda: os.open("/dev/null", os.O_RDONLY)) for _ in range(30)]
        return opened[-1]

    assert in_a_process(attempt) == "EMFILE"


def test_without_privileges_there_is_nothing_left_of_root(host, in_a_process):
    def attempt():
        identity = privileges.choose()
        privileges.drop(identity, "/", files_are_guarded=False)
        held = [number for number in range(41) if kernel.has_capability(number)]
        return [held, os.getresuid() == (identity.uid,) * 3, os.getgroups() == [] or not identity.changes]

    assert in_a_process(attempt) == "[[], True, True]"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make others' containers")
@pytest.mark.parametrize(
    ("first", "count", "changes", "is_own"),
    [(100_000, 65_536, True, True), (100_000, 5000, False, False), (100_000, 1, False, False)],
)
def test_root_of_a_container_becomes_somebody_there_is(needs, in_a_process, first, count, changes, is_own):
    """A container that has 65,536 users has one to spare; one of few may have none, and root is one by name only."""
    needs("namespaces")
    asked_read, asked_write = os.pipe()
    mapped_read, mapped_write = os.pipe()

    def attempt():
        child = os.fork()
        if child == 0:
            signal.alarm(60)  # if its parent fails, it is not asked
            kernel.unshare(kernel.CLONE_NEWUSER)
            os.write(asked_write, b"x")
            os.read(mapped_read, 1)
            os.setresgid(0, 0, 0)
            os.setresuid(0, 0, 0)
            identity = privileges.choose()
            privileges.drop(identity, "/", files_are_guarded=False)
            fits = 0 < identity.uid < count if changes else identity.uid == 0
            right = fits and (identity.changes, identity.is_own) == (changes, is_own)
            os._exit(0 if right and os.getuid() == identity.uid and not kernel.has_capability(7) else 1)
        os.read(asked_read, 1)
        for kind in ("uid", "gid"):
            Path(f"/proc/{child}/{kind}_map").write_text(f"0 {first} {count}")
        os.write(mapped_write, b"x")
        return os.waitpid(child, 0)[1]

    assert in_a_process(attempt) == "0"
    for descriptor in (asked_read, asked_write, mapped_read, mapped_write):
        os.close(descriptor)
