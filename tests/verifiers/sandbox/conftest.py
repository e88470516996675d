"""Sandboxes of every set of layers that this host allows."""

import os
import signal
import sys

import pytest

from nemo_prorl.verifiers.sandbox import Program, Sandbox, SandboxSettings, probe

LAYER_SETS = {
    "all layers": (),
    "landlock and seccomp": ("namespaces",),
    "namespaces and seccomp": ("landlock",),
    "namespaces and landlock": ("seccomp",),
    "namespaces alone": ("landlock", "seccomp"),
}


@pytest.fixture(scope="session")
def host():
    """What holds here."""
    if sys.platform != "linux":
        pytest.skip("the layers are Linux's")
    return probe()


@pytest.fixture(scope="session")
def needs(host):
    """Skips a test on a host without these layers."""

    def check(*layers):
        for layer in layers:
            if not host.holds(layer):
                pytest.skip(f"this host doesn't allow {layer}:\n{host.describe()}")

    return check


@pytest.fixture(scope="module", params=LAYER_SETS)
def layered(request, needs):
    """A sandbox with only some layers, and their names."""
    without = LAYER_SETS[request.param]
    holds = {"namespaces", "landlock", "seccomp"} - set(without)
    needs(*holds)
    with Sandbox(SandboxSettings(without=without)) as sandbox:
        yield sandbox, holds


@pytest.fixture(scope="module")
def sandbox(host):
    with Sandbox(SandboxSettings()) as sandbox:
        yield sandbox


@pytest.fixture(scope="module")
def script(sandbox):
    """What comes of a script on one input, in the strongest sandbox."""

    def run(source, text="", budget_seconds=20.0):
        (ran,) = sandbox.run(Program(source), [text], budget_seconds=budget_seconds)
        return ran

    return run


@pytest.fixture(scope="module")
def function(sandbox):
    """What comes of calling a function on one list of arguments."""

    def run(source, name, *lines):
        (ran,) = sandbox.run(Program(source, name), ["\n".join(lines)], budget_seconds=20.0)
        return ran

    return run


@pytest.fixture
def in_a_process():
    """What a function returns or raises, as text, in a forked process of its own, which it may confine or ruin."""

    def run(work):
        read_end, write_end = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read_end)
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(240)  # the parent waits for an answer or an end
            try:
                answer = str(work())
            except BaseException as error:
                answer = f"{type(error).__name__}: {error}"
            os.write(write_end, answer.encode()[:60_000])
            os._exit(0)
        os.close(write_end)
        with open(read_end, "rb") as file:
            answer = file.read().decode()
        os.waitpid(child, 0)
        return answer

    return run
