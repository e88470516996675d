"""Slurm sends a run's signals to whatever the run has started: the processes that judge outlive them."""

import os
import signal
import time

import psutil


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
