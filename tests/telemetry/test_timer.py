"""Durations by phase."""

import time

import pytest

from nemo_prorl.telemetry.timer import Timer


def test_phases_add_up_until_drained_and_may_lie_inside_each_other():
    timer = Timer()
    with timer("step"):
        for _ in range(2):
            with timer("rollout"):
                time.sleep(0.01)
    drained = timer.drain()
    assert list(drained) == ["time/rollout_seconds", "time/step_seconds"]
    assert 0.02 <= drained["time/rollout_seconds"] <= drained["time/step_seconds"]
    assert timer.drain() == {}


def test_an_error_inside_still_counts():
    told = []
    timer = Timer(told.append)
    with pytest.raises(KeyError), timer("step"), timer("update"):
        raise KeyError
    assert "time/update_seconds" in timer.drain()
    assert told[-1] == "update", "that is where the error came from"
    with timer("checkpoint"):
        pass
    assert told[-2:] == ["checkpoint", "between steps"]
