"""Processes of ours that confine themselves, and what they can still do."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.sandbox import SandboxSettings, confine, kernel, limits
from tests.verifiers.sandbox.conftest import LAYER_SETS

CONFINING = [name for name, without in LAYER_SETS.items() if "seccomp" not in without]


@pytest.fixture
def tmp():
    """Where a confined process may write; below a folder that everybody may enter."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        Path(folder).chmod(0o755)
        own = Path(folder) / "own"
        own.mkdir()
        yield own


@pytest.fixture(params=CONFINING)
def settings(request, needs):
    without = LAYER_SETS[request.param]
    needs(*({"namespaces", "landlock", "seccomp"} - set(without)))
    return SandboxSettings(without=without, memory_bytes=beyond_ours(4 << 30))


def beyond_ours(more_bytes):
    """Address space for that much more than this process has, which the suite's other tests have made large."""
    return limits.address_space_bytes() + more_bytes


def went(attempt):
    try:
        attempt()
    except OSError:
        return False
    return True


def test_it_reaches_nothing_and_nobody(settings, in_a_process, tmp, tmp_path):
    (tmp_path / "secret").write_text("x")

    def attempt():
        confine(settings, tmp=tmp)
        return [
            went(attempted)
            for attempted in (
                lambda: (tmp_path / "secret").read_text(),
                lambda: (tmp_path / "made").write_text("x"),
                lambda: Path("/etc/passwd").read_text(),
                lambda: Path(os.__file__).open("a"),
                lambda: socket.socket(),
                os.fork,
                lambda: subprocess.run([sys.executable, "-c", ""]),
                lambda: os.kill(os.getppid(), 0),
                lambda: Path(f"/proc/{os.getppid()}/environ").read_bytes(),
                lambda: kernel.unshare(kernel.CLONE_NEWUSER),
                lambda: kernel.raw("ptrace", {"x86_64": 101, "aarch64": 117}[kernel.machine()], 16, os.getppid(), 0, 0),
            )
        ]

    assert in_a_process(attempt) == str([False] * 11)
    assert not (tmp_path / "made").exists()


def test_it_can_still_judge(settings, in_a_process, tmp):
    """Import what isn't loaded yet, use threads, write temporary files, answer on what was open before."""
    ours, theirs = socket.socketpair()

    def attempt():
        confine(settings, tmp=tmp)
        import sympy

        x = sympy.Symbol("x")
        thread = threading.Thread(target=ours.sendall, args=[str(sympy.integrate(sympy.cos(x), x)).encode()])
        thread.start()
        thread.join()
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("x")
            return [Path(file.name).parent == tmp, os.environ["TMPDIR"] == os.environ["HOME"] == str(tmp), os.getcwd()]

    assert in_a_process(attempt) == str([True, True, str(tmp)])
    assert theirs.recv(100) == b"sin(x)"
    for one in (ours, theirs):
        one.close()


def test_only_where_namespaces_hold_its_files_are_gone_with_it(settings, in_a_process, tmp):
    def attempt():
        confine(settings, tmp=tmp)
        (tmp / "file").write_text("x")
        return os.listdir(tmp)

    assert in_a_process(attempt) == "['file']"
    assert os.listdir(tmp) == (["file"] if "namespaces" in settings.without else [])


def test_it_reads_what_it_is_told_to(settings, in_a_process, tmp):
    data = tmp.parent / "data"
    data.mkdir(mode=0o755)
    (data / "table").write_text("7")

    def attempt():
        confine(replace(settings, read=(data,)))
        return [(data / "table").read_text(), went(lambda: (data / "table").write_text("8")), went(lambda: tmp.rmdir())]

    assert in_a_process(attempt) == "['7', False, False]"


def test_a_report_saves_trying_again(settings, in_a_process, tmp, host):
    report = host if not settings.without else None

    def attempt():
        return confine(settings, tmp=tmp, report=report).level

    assert in_a_process(attempt) == ("landlock" if "namespaces" in settings.without else "namespaces")


def test_it_still_dies_with_its_parent(settings, in_a_process):
    def attempt():
        kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
        confine(settings)
        return kernel.death_signal()

    assert in_a_process(attempt) == "9"


def test_its_memory_and_files_are_limited(needs, in_a_process, tmp):
    needs("seccomp")

    def attempt():
        confine(SandboxSettings(memory_bytes=beyond_ours(512 << 20), output_bytes=1 << 20), tmp=tmp)
        large = went(lambda: (tmp / "large").write_bytes(bytes(2 << 20)))
        try:
            return [large, len(bytearray(600 << 20))]
        except MemoryError:
            return [large, "no memory"]

    assert in_a_process(attempt) == "[False, 'no memory']"


def test_a_process_that_is_too_large_already_is_refused(needs, in_a_process):
    needs("seccomp")
    most = limits.address_space_bytes() - (1 << 20)
    said = in_a_process(lambda: confine(SandboxSettings(memory_bytes=most)))
    assert "MiB of address space can't be confined to" in said


def test_less_than_is_demanded_is_refused(host, in_a_process):
    without, enough = ("namespaces", "landlock", "seccomp"), beyond_ours(1 << 30)
    assert "VerifierError: no sandbox" in in_a_process(
        lambda: confine(SandboxSettings(without=without, memory_bytes=enough))
    )
    allowed = SandboxSettings(without=without, memory_bytes=enough, allow_unconfined=True)
    assert in_a_process(lambda: confine(allowed).level) == "none"


def test_a_process_with_threads_is_refused(host):
    blocked = threading.Event()
    thread = threading.Thread(target=blocked.wait)
    thread.start()
    with pytest.raises(VerifierError, match="threads can't be confined"):
        confine(SandboxSettings())
    blocked.set()
    thread.join()
