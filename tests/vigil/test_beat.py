"""Where a thread is, and whether it stands still for another rank's sake."""

import threading
import time
from types import SimpleNamespace

import pytest
import torch

from nemo_prorl.control import StopRequests, StopSignals
from nemo_prorl.errors import CheckpointError
from nemo_prorl.pulse import PULSE
from nemo_prorl.vigil.beat import where_threads_are
from nemo_prorl.vigil.collective import is_of_a_collective
from nemo_prorl.world import _Reducing


def waiting_in(file):
    """A function that waits for an event, as if it stood in `file`."""
    names = {}
    exec(compile("def wait(event):\n    event.wait(20)\n", file, "exec"), names)
    return names["wait"]


@pytest.mark.parametrize(
    ("file", "waits"),
    [("/venv/torch/distributed/distributed_c10d.py", True), ("/home/me/my_reward.py", False)],
)
def test_whoever_is_in_a_collective_waits_for_others(file, waits):
    event = threading.Event()
    inside = threading.Thread(target=waiting_in(file), args=(event,), daemon=True)
    joins = threading.Thread(target=lambda: inside.join(20), daemon=True)
    inside.start()
    joins.start()
    try:
        assert where_threads_are(inside.ident)[1] is waits
        at, joined_waits = where_threads_are(joins.ident)
        assert joined_waits is waits, "one that waits for a thread of its own waits for what that one waits for"
        assert "threading.py" in at
    finally:
        event.set()
        inside.join(20)
        joins.join(20)


def test_whoever_waits_for_an_exchange_under_way_waits_for_others():
    """Its `wait` is none of Python's, so that no line of torch is seen: a lock's `acquire` stands for it."""
    lock = threading.Lock()
    lock.acquire()
    exchange = _Reducing(SimpleNamespace(wait=lock.acquire), torch.zeros(1))
    rank = threading.Thread(target=exchange.result, daemon=True)
    rank.start()
    try:
        end = time.monotonic() + 20
        while not where_threads_are(rank.ident)[1] and time.monotonic() < end:
            time.sleep(0.01)
        at, waits = where_threads_are(rank.ident)
        assert "world.py" in at and "in result" in at and waits
    finally:
        lock.release()
        rank.join(20)


def test_a_thread_that_is_not_there_is_nowhere():
    assert where_threads_are(-1) == ("nowhere", False)


def test_looking_whether_to_stop_between_completions_is_progress(tmp_path):
    before = PULSE.beats
    StopRequests(tmp_path, StopSignals())()
    assert PULSE.beats == before + 1


def raised_from(error, cause):
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "is_one"),
    [
        (RuntimeError("[gloo/transport/tcp/pair.cc:553] Connection closed by peer [127.0.0.1]:4332"), True),
        (RuntimeError("NCCL communicator was aborted on rank 3"), True),
        (raised_from(CheckpointError("could not be written"), RuntimeError("gloo: timed out")), True),
        (CheckpointError("could not be written: RuntimeError: [gloo] Connection closed by peer"), True),
        (CheckpointError("could not be written: No space left on device"), False),
        (RuntimeError("CUDA out of memory"), False),
        (ConnectionResetError("connection reset by peer"), False),
    ],
)
def test_a_collectives_error_is_told_from_others(error, is_one):
    assert is_of_a_collective(error) is is_one
