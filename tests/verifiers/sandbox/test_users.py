"""Root gives its rights up; everybody else needs none."""

import json
import os
import shutil
import subprocess
import sys

import pytest

from nemo_prorl.verifiers.sandbox import Program, Sandbox, SandboxSettings, confine, kernel, limits
from tests.house.source import ROOT
from tests.verifiers.sandbox.conftest import LAYER_SETS

WHO = "import os\nprint([os.getuid(), os.getgid(), os.getgroups()])"
CAPABILITIES = """
import ctypes
header, data = ctypes.create_string_buffer(b"\\x22\\x05\\x08\\x20" + bytes(4)), ctypes.create_string_buffer(24)
print(ctypes.CDLL(None).capget(header, data), int.from_bytes(data.raw, "little"))
"""
SOMEBODY = 4321
AS_USER = {"user": SOMEBODY, "group": SOMEBODY, "extra_groups": [], "cwd": "/"}
AS_SOMEBODY = """
import json, sys
from nemo_prorl.verifiers.sandbox import Program, Sandbox, SandboxSettings
with Sandbox(SandboxSettings(without=tuple(sys.argv[1:]))) as sandbox:
    source = "import os, decimal\\ntry: os.fork()\\nexcept OSError: print(os.getuid(), input())"
    found = [ran.output.decode() for ran in sandbox.run(Program(source), ["a", "b"], budget_seconds=60)]
    print(json.dumps([sandbox.report.as_json(), found]))
"""


def test_a_program_runs_as_nobody_whoever_started_it(layered):
    sandbox, holds = layered
    (ran,) = sandbox.run(Program(WHO), [""], budget_seconds=20)
    uid, gid, groups = json.loads(ran.output)
    if os.geteuid() == 0:
        assert uid == gid >= 0x6000_0000
        assert groups == []
    else:
        assert uid == (1000 if "namespaces" in holds else os.geteuid())


def test_a_program_has_no_capability(layered):
    """Root whose Python nobody else may read keeps one, where Landlock says which files that means: to read any."""
    sandbox, holds = layered
    (ran,) = sandbox.run(Program(CAPABILITIES), [""], budget_seconds=20)
    read_any_file = 1 << 2 | 1 << 34
    allowed = {f"0 {number}\n" for number in ((0,) if "namespaces" in holds else (0, read_any_file))}
    assert ran.output.decode() in allowed


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("layers", ["all layers", "landlock and seccomp", "namespaces and landlock"])
def test_a_normal_user_needs_no_rights(needs, layers):
    without = LAYER_SETS[layers]
    needs(*({"namespaces", "landlock", "seccomp"} - set(without)))
    python = python_for_all()
    done = subprocess.run(
        [python, "-c", AS_SOMEBODY, *without],
        env={"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        **AS_USER,
    )
    assert done.returncode == 0, done.stderr
    report, outputs = json.loads(done.stdout)
    assert report["level"] == ("landlock" if "namespaces" in without else "namespaces")
    if "seccomp" not in without:
        uid = SOMEBODY if "namespaces" in without else 1000
        assert outputs == [f"{uid} a\n", f"{uid} b\n"]


PR_CAPBSET_DROP = 24
DOCKERS = (0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31)  # root's capabilities in a container, by Docker's default


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can be a container's")
def test_root_of_a_container_who_is_no_administrator_has_namespaces_too(needs, in_a_process):
    """As in Docker with --security-opt seccomp=unconfined."""
    needs("namespaces")

    def attempt():
        for number in range(41):
            if number not in DOCKERS:
                kernel.prctl(PR_CAPBSET_DROP, number)
        with Sandbox(SandboxSettings()) as sandbox:
            who, capable = (
                next(sandbox.run(Program(source), [""], budget_seconds=20)) for source in (WHO, CAPABILITIES)
            )
            uid, gid, groups = json.loads(who.output)
            return [sandbox.report.level, uid == gid >= 0x6000_0000, groups, capable.output]

    assert in_a_process(attempt) == str(["namespaces", True, [], b"0 0\n"])


@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="only root can be a container's")
def test_so_does_a_process_of_ours_that_is_to_be_confined(needs, in_a_process, tmp_path):
    needs("namespaces")

    def attempt():
        kernel.keep_capabilities(*DOCKERS)
        report = confine(SandboxSettings(memory_bytes=limits.address_space_bytes() + (1 << 30)))
        return [report.level, os.getuid() == os.getgid() >= 0x6000_0000, os.path.exists(tmp_path)]

    assert in_a_process(attempt) == str(["namespaces", True, False])


def python_for_all():
    """A Python that somebody else may run, and that may read this checkout."""
    for python in (sys.executable, shutil.which("python3", path="/usr/bin:/usr/local/bin")):
        if python is None:
            continue
        check = "import sys; assert sys.version_info >= (3, 11); open(sys.argv[1])"
        try:
            subprocess.run([python, "-c", check, ROOT / "LICENSE"], capture_output=True, check=True, **AS_USER)
            return python
        except (OSError, subprocess.CalledProcessError):
            continue
    pytest.skip("no Python here that another user than root may run")
