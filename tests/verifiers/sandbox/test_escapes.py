"""No way out of a sandbox, whichever layers hold; see escapes.py, which is what runs inside."""

import json
import os
import secrets
import shutil
import signal
import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from nemo_prorl.verifiers.sandbox import Program, Sandbox, SandboxSettings
from tests.verifiers.sandbox import escapes
from tests.verifiers.sandbox.conftest import LAYER_SETS

SOURCE = Path(escapes.__file__).read_text()
WAYS = [name for name, way in vars(escapes).items() if getattr(way, "__module__", "") == escapes.__name__]
# Where the filter doesn't hold these can be gone, but lead nowhere: to processes and calls of the sandbox's own world.
WITHIN_THEIR_WORLD = """
    fork run_a_program spawn_a_program become_a_program clone_with_the_newest_call make_a_user_namespace mount
    kill_the_parent kill_everybody kill_the_group kill_through_a_descriptor have_a_pipe_kill_the_parent
    outlive_the_runner trace_the_parent read_the_parents_memory slow_the_parent_down limit_the_parent raise_a_limit
    listen_on_a_port open_a_netlink_socket open_a_ring share_memory_of_system_five mark_the_standard_library
    keep_memory_in_a_file_of_no_name hold_up_who_opens_the_standard_library
"""


class Outside:
    """What a program is not to reach, and whether it has."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp(prefix="outside-", dir="/var/tmp"))
        self.shown = Path(tempfile.mkdtemp(prefix="shown-", dir="/var/tmp"))
        for folder in (self.folder, self.shown):
            folder.chmod(0o777)
        self.secret, self.readable = self.folder / "secret", self.shown / "readable"
        for file in (self.secret, self.readable):
            file.write_text("canary")
            file.chmod(0o666)
        self.reached = []
        name = f"prorl-test-{secrets.token_hex(8)}"
        self.sockets = [
            socket.socket(),
            socket.socket(socket.AF_UNIX),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM),
        ]
        for one, address in zip(self.sockets, (("0.0.0.0", 0), f"\0{name}", f"\0{name}-datagrams"), strict=True):
            one.bind(address)
        for one in self.sockets[:2]:
            one.listen()
            threading.Thread(target=self._accept, args=[one], daemon=True).start()
        self.told = {
            "secret_file": str(self.secret),
            "readable_file": str(self.readable),
            "trainer": os.getpid(),
            "port": self.sockets[0].getsockname()[1],
            "abstract": name,
            "abstract_datagrams": f"{name}-datagrams",
        }

    def _accept(self, listening):
        while True:
            try:
                listening.accept()[0].close()
            except OSError:
                return
            self.reached.append("a connection was made")

    def found(self):
        """All that has been reached."""
        reached, self.reached = self.reached, []
        for file in (self.secret, self.readable):
            if file.read_text() != "canary" or file.stat().st_mode & 0o777 != 0o666 or file.stat().st_nlink != 1:
                reached.append(f"{file.name} was changed")
        if len(os.listdir(self.folder) + os.listdir(self.shown)) != 2:
            reached.append("a file was made")
        self.sockets[2].setblocking(False)
        try:
            reached.append(f"a datagram was sent: {self.sockets[2].recv(100)!r}")
        except BlockingIOError:
            return reached
        return reached

    def close(self):
        for one in self.sockets:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # who waits in accept() learns of it
            one.close()
        shutil.rmtree(self.folder)
        shutil.rmtree(self.shown)


@pytest.fixture
def outside(monkeypatch):
    monkeypatch.setenv("SECRET_TOKEN", "canary in the environment")
    signalled = []
    before = signal.signal(signal.SIGUSR1, lambda *_: signalled.append("the trainer got a signal"))
    reachable = Outside()
    reachable.reached = signalled
    yield reachable
    reachable.close()
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.parametrize("layers", LAYER_SETS)
def test_there_is_no_way_out(layers, needs, outside):
    without = LAYER_SETS[layers]
    needs(*({"namespaces", "landlock", "seccomp"} - set(without)))
    open_ways = WITHIN_THEIR_WORLD.split() if "seccomp" in without else []
    gone = {}
    with Sandbox(SandboxSettings(without=without, read=(outside.readable,))) as sandbox:
        for way in WAYS:
            told = json.dumps({**outside.told, "way": way})
            (ran,) = sandbox.run(Program(SOURCE), [told], budget_seconds=20.0)
            said = ran.output.decode(errors="replace")
            if "reached" in said or b"canary" in ran.output:
                gone[way] = said
            assert not outside.found(), way
    assert {way: said for way, said in gone.items() if way not in open_ways} == {}


def test_the_ways_lead_out_where_there_is_no_sandbox(outside, in_a_process):
    """Else the test above would show nothing. Most are left out here: they would end or endanger who tries them."""
    ways = ("read_a_secret", "write_beside_the_secret", "connect_to_an_abstract_socket", "fork", "connect_to_a_port")
    for way in ways:
        assert "Error" not in in_a_process(lambda way=way: vars(escapes)[way](outside.told)), way
    assert "a file was made" in outside.found()
