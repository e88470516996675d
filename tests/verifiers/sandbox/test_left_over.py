"""What a sandbox leaves behind: nothing."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.sandbox import Program, Sandbox, SandboxSettings
from tests.house.source import ROOT
from tests.verifiers.sandbox.conftest import LAYER_SETS

ADD = Program("a, b = map(int, input().split())\nprint(a + b)")
LEVELS = ("all layers", "landlock and seccomp")
TRAINER = """
import sys
from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.sandbox import Program, Sandbox, SandboxSettings
with Sandbox(SandboxSettings(without=tuple(sys.argv[1:]))) as sandbox:
    program = Program("import os, time\\nprint(os.environ['TMPDIR'])\\ntime.sleep(int(input()))")
    found = sandbox.run(program, ["0", "600"], budget_seconds=600)
    print(next(found).output.decode().strip(), flush=True)
    next(found)
"""


def living():
    """Every process: number and start -> its parent's number."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                fields = Path("/proc", name, "stat").read_text().rsplit(")")[-1].split()
            except OSError:
                continue
            if fields[0] != "Z":
                found[int(name), fields[19]] = int(fields[1])
    return found


def descendants(pid):
    """Processes below one, as they are now."""
    found, parents, everybody = set(), {pid}, living()
    while True:
        more = {process for process, parent in everybody.items() if parent in parents} - found
        if not more:
            return found
        found |= more
        parents |= {number for number, _ in more}


def wait_until(is_so, seconds=10.0):
    until = time.monotonic() + seconds
    while not is_so() and time.monotonic() < until:
        time.sleep(0.02)
    return is_so()


def descriptors():
    return len(os.listdir("/proc/self/fd"))


@pytest.fixture
def open_sandbox(needs):
    def start(layers):
        without = LAYER_SETS[layers]
        needs(*({"namespaces", "landlock", "seccomp"} - set(without)))
        return Sandbox(SandboxSettings(without=without))

    return start


@pytest.mark.parametrize("layers", LEVELS)
def test_hundreds_of_programs_leave_no_process_no_descriptor_and_no_file(open_sandbox, layers):
    before, processes = descriptors(), descendants(os.getpid())
    with open_sandbox(layers) as sandbox:
        (ran,) = sandbox.run(Program("import os\nprint(os.environ['TMPDIR'])"), [""], budget_seconds=20)
        folder = Path(ran.output.decode().strip())
        held = descriptors()
        for source in ("print(1)", "1 / 0", "def f(:", "while True: pass", "open('left', 'w').write('x')") * 50:
            budget_seconds = 0.02 if "while" in source else 20
            list(sandbox.run(Program(source), [""], budget_seconds=budget_seconds))
        assert wait_until(lambda: len(descendants(os.getpid()) - processes) == 2)  # launcher and zygote
        assert descriptors() == held
    assert descendants(os.getpid()) <= processes  # one of another test may have ended meanwhile
    assert descriptors() == before
    if layers == "landlock and seccomp":
        assert folder.name == "tmp" and not folder.parent.exists()


@pytest.mark.parametrize("layers", LEVELS)
def test_a_killed_trainer_leaves_nothing(needs, layers):
    without = LAYER_SETS[layers]
    needs(*({"namespaces", "landlock", "seccomp"} - set(without)))
    command = [sys.executable, "-c", TRAINER, *without]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as trainer:
        folder = Path(trainer.stdout.readline().strip())
        below = descendants(trainer.pid)
        assert len(below) >= 3  # the launcher, the zygote, and the program's runner
        trainer.kill()
    assert wait_until(lambda: not below & living().keys()), below & living().keys()
    if "namespaces" in without:
        assert wait_until(lambda: not folder.parent.exists())


@pytest.mark.parametrize("layers", LEVELS)
def test_a_killed_launcher_takes_all_with_it_and_the_next_program_gets_a_new_one(open_sandbox, layers):
    before = descendants(os.getpid())
    with open_sandbox(layers) as sandbox:
        below = descendants(os.getpid()) - before
        (launcher,) = {number for (number, _), parent in living().items() if parent == os.getpid()} & dict(below).keys()
        os.kill(launcher, signal.SIGKILL)
        assert wait_until(lambda: not below & living().keys())
        assert next(sandbox.run(ADD, ["1 2"], budget_seconds=20)).output == b"3\n"


def test_a_launcher_killed_under_a_program_is_an_error_and_no_verdict(sandbox):
    found = sandbox.run(
        Program("import time\nprint(1)\ntime.sleep(float(input()))"), ["0", "60", "0"], budget_seconds=60
    )
    assert next(found).status == "ok"
    children = {number for (number, _), parent in living().items() if parent == os.getpid()}
    launchers = [n for n in children if b"sandbox.launcher" in Path(f"/proc/{n}/cmdline").read_bytes()]
    killer = subprocess.Popen(["sh", "-c", f"sleep 0.3; kill -9 {' '.join(map(str, launchers))}"])
    with pytest.raises(VerifierError, match="ended while a program ran in it"):
        next(found)
    killer.wait()
    assert next(sandbox.run(ADD, ["1 2"], budget_seconds=20)).output == b"3\n"


def test_a_schedulers_signals_do_not_disturb_it(sandbox):
    found = sandbox.run(Program("import time\ntime.sleep(float(input()))\nprint(1)"), ["0", "0.4"], budget_seconds=60)
    next(found)
    for number, _ in descendants(os.getpid()):
        if b"sandbox.launcher" in Path(f"/proc/{number}/cmdline").read_bytes():
            for sent in (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                os.kill(number, sent)
    assert next(found).output == b"1\n"


def test_it_closes_although_a_fork_of_ours_holds_its_lines_open(host):
    before = descendants(os.getpid())
    sandbox = Sandbox(SandboxSettings())
    child = os.fork()
    if child == 0:
        time.sleep(60)
        os._exit(0)
    begun = time.monotonic()
    sandbox.close()
    assert time.monotonic() - begun < 4
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert descendants(os.getpid()) <= before
