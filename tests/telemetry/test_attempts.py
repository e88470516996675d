"""Attempts: one process has a run's folder at a time, and what became of each is written down."""

import json
import multiprocessing
import os
import signal
import time

import pytest

from nemo_prorl.errors import RunInUseError
from nemo_prorl.telemetry import attempts
from nemo_prorl.telemetry.attempts import Attempt
from nemo_prorl.telemetry.process_identity import ProcessIdentity

FORK = multiprocessing.get_context("fork")
LONG_SECONDS = 120  # more than any of it takes


def hold(run_dir, told):
    Attempt.claim(run_dir)
    told.send(True)
    signal.pause()


def end(process):
    process.kill()
    process.join(LONG_SECONDS)
    assert process.exitcode is not None


@pytest.fixture
def holder(tmp_path):
    """A process that has the run in tmp_path."""
    here, there = FORK.Pipe()
    process = FORK.Process(target=hold, args=(tmp_path, there))
    process.start()
    assert here.poll(LONG_SECONDS), "it has not got the run"
    yield process
    end(process)


def test_a_second_process_is_refused_until_the_first_is_killed(tmp_path, holder):
    for _ in range(2):
        with pytest.raises(RunInUseError, match=rf"in use by attempt 1 \(process {holder.pid} on"):
            Attempt.claim(tmp_path)
    os.kill(holder.pid, signal.SIGKILL)
    holder.join(LONG_SECONDS)
    assert Attempt.claim(tmp_path).number == 2
    assert json.loads((tmp_path / "attempts/0001/attempt.json").read_text())["state"] == "lost"


def test_an_attempt_that_ended_leaves_the_run_to_the_next(tmp_path):
    first = Attempt.claim(tmp_path)
    first.add({"state": "finished", "ended_unix_seconds": 1.0})
    second = Attempt.claim(tmp_path)
    assert (first.number, second.number, Attempt.newest(tmp_path).number) == (1, 2, 2)
    assert first.record()["state"] == "finished"


def test_another_process_with_the_same_number_is_not_taken_for_the_first(tmp_path):
    own = ProcessIdentity.own()
    assert own.is_here
    assert own.is_running
    assert not ProcessIdentity(own.host, own.place, own.pid, "12345").is_running


def elsewhere(run_dir, idle_seconds):
    """An attempt of a process on another host, which gave its last sign of life so long ago."""
    attempt = Attempt.claim(run_dir)
    process = ProcessIdentity("far", "far boot ns", os.getpid(), "1").as_json()
    (attempt.folder / "process.json").write_text(json.dumps(process))
    then = time.time() - idle_seconds
    os.utime(attempt.folder / "alive", (then, then))
    return attempt


def test_a_process_of_another_host_is_judged_by_its_sign_of_life(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(attempts, "STALE_SECONDS", 3.0)
    attempt = elsewhere(tmp_path, 1.0)
    assert attempt.seems_alive()
    assert Attempt.claim(tmp_path).number == 2, "it gave no other sign within the time"
    assert "attempt 1 (process" in caplog.text
    assert "waiting for up to 2 seconds" in caplog.text
    assert not elsewhere(tmp_path / "other", 60.0).seems_alive()


def test_a_process_of_another_host_that_gives_another_sign_has_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(attempts, "STALE_SECONDS", 5.0)
    attempt = elsewhere(tmp_path, 1.0)
    toucher = FORK.Process(target=lambda: (time.sleep(0.3), attempt.touch()))
    toucher.start()
    with pytest.raises(RunInUseError, match="on far"):
        Attempt.claim(tmp_path)
    toucher.join(LONG_SECONDS)


def claimed_at(run_dir, moment, told):
    time.sleep(max(moment - time.time(), 0.0))
    try:
        told.send(Attempt.claim(run_dir).number)
    except RunInUseError:
        told.send("refused")
    except Exception as error:
        told.send(repr(error))
    signal.pause()


def test_of_many_at_the_same_moment_one_gets_the_run(tmp_path):
    here, there = FORK.Pipe()
    moment = time.time() + 0.3
    processes = [FORK.Process(target=claimed_at, args=(tmp_path, moment, there)) for _ in range(8)]
    for process in processes:
        process.start()
    answers = [here.recv() for _ in processes if here.poll(LONG_SECONDS)]
    for process in processes:
        end(process)
    assert sorted(map(str, answers)) == ["1", *["refused"] * 7]
