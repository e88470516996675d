"""Slurm sends a run's signals to whatever the run has started: the processes that judge outlive them."""

import os
import signal
import sys
import time
from contextlib import suppress

import psutil
import pytest


@pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")
def test_nor_is_a_verdict_lost_that_is_being_made(open_pool, misbehaving, make_prompt):
    """Of neither kind of worker, nor of a program in the sandbox."""
    others = set(psutil.Process().children(recursive=True))
    pool = open_pool(workers=3)
    program = "```python\nimport time\ntime.sleep(1)\nprint(1)\n```"
    asked = [
        (misbehaving("Slow", {"seconds": 1}), ""),
        (misbehaving("SlowUnconfined", {"seconds": 1}), ""),
        (make_prompt("code", {"inputs": [""], "outputs": ["1"]}), program),
    ]
    for prompt, text in asked:
        assert pool.submit(prompt, text).result(30).reward == 1.0
    futures = [pool.submit(prompt, text) for prompt, text in asked]
    time.sleep(0.3)
    for number in (signal.SIGUSR1, signal.SIGTERM):
        for process in set(psutil.Process().children(recursive=True)) - others:
            with suppress(psutil.NoSuchProcess):  # one that was only for a moment, as a compiler's
                process.send_signal(number)
    assert [(future.result(30).reward, future.result().outcome) for future in futures] == [(1.0, "scored")] * 3


def test_a_signal_to_all_processes_of_a_run_ends_no_verifier(open_pool, misbehaving):
    """A stop is the run's own business; while it sees to it, verdicts still come."""
    others = set(psutil.Process().children())
    pool = open_pool()
    assert pool.submit(misbehaving("Where"), "text").result(30).outcome == "scored"
    (server,) = set(psutil.Process().children()) - others
    for number in (signal.SIGUSR1, signal.SIGTERM):
        os.kill(server.pid, number)
    time.sleep(0.2)
    assert server.is_running()
    assert server.status() != psutil.STATUS_ZOMBIE
    assert pool.submit(misbehaving("Where"), "text").result(30).outcome == "scored"
