"""Alarms of a run: raised once, recorded with advice, counted, and the same after a checkpoint."""

import json
import logging

import pytest

from nemo_prorl.algorithm.alarms import Alarm, Level, Rise
from nemo_prorl.config.alarms import AlarmsConfig, EntropyCollapse
from nemo_prorl.config.kept import TelemetryConfig
from nemo_prorl.telemetry.metrics import MetricsLog
from nemo_prorl.telemetry.records import read_records
from nemo_prorl.telemetry.watch import KINDS, Watch, alarms_from


@pytest.fixture
def metrics(tmp_path):
    with MetricsLog(tmp_path, TelemetryConfig(tensorboard=False), is_main=True, resolved={}) as opened:
        opened.resume(None)
        yield opened


def recorded(tmp_path):
    return [{k: v for k, v in r.items() if k != "time/unix_seconds"} for r in read_records(tmp_path / "metrics.jsonl")]


LOW = Alarm("low", "x", Level(limit=1.0, steps=2, above=False), "do something")


def test_an_alarm_is_raised_once_and_again_after_it_was_over(metrics, tmp_path, caplog):
    """Means of two: .9 (raised), .95, 1.05 (within a tenth), 2 (over), .8 (raised)."""
    watch = Watch([LOW], metrics, is_main=True)
    with caplog.at_level(logging.WARNING):
        told = [
            watch.look(step, {"x": value}) for step, value in enumerate([0.9, 0.9, 1.0, 1.1, 2.9, 0.0, 1.6], start=1)
        ]
    assert [values["alarm/raised"] for values in told] == [0, 1, 1, 1, 1, 1, 2]
    assert [values["alarm/active"] for values in told] == [0, 1, 1, 1, 0, 0, 1]
    first = {"alarm/low/value": 0.9, "alarm/low/limit": 1.0, "alarm/low/times_raised": 1.0}
    assert recorded(tmp_path)[0] == {"step": 2, "kind": "alarm", "name": "low", "note": "do something", **first}
    assert [(r["step"], r["alarm/low/times_raised"]) for r in recorded(tmp_path)] == [(2, 1.0), (7, 2.0)]
    assert "step 2: alarm low: x is 0.9, below 1. Advice: do something" in caplog.text


def test_other_ranks_know_of_it_and_are_silent(metrics, caplog):
    watch = Watch([LOW], metrics, is_main=False)
    with caplog.at_level(logging.WARNING):
        watch.look(1, {"x": 0.0})
        assert watch.look(2, {"x": 0.0})["alarm/raised"] == 1
    assert not caplog.text


def test_a_step_without_the_metric_changes_nothing(metrics):
    watch = Watch([LOW], metrics, is_main=True)
    for step, values in enumerate([{"x": 0.5}, {}, {"y": 3.0}, {"x": 0.5}]):
        told = watch.look(step, values)
    assert told["alarm/raised"] == 1


def test_after_a_reset_the_kl_is_compared_with_what_came_since(metrics):
    """Nearly 0 after the reset, then growing tenfold a step for a while: no spike until ten steps are known."""
    alarm = Alarm("spike", "kl/reference", Rise(times=3, steps=1, before_steps=20), "", since_reset=True)
    watch = Watch([alarm], metrics, is_main=True)
    for step in range(1, 16):
        watch.look(step, {"kl/reference": 0.5, "reset/steps_since": step})
    for since, kl in enumerate([0.001, 0.01, 0.1], start=1):
        told = watch.look(15 + since, {"kl/reference": kl, "reset/steps_since": since})
    assert told["alarm/raised"] == 0
    assert len(watch.state_dict()["history"]["spike"]) == 3


def test_what_a_watch_remembers_goes_through_a_checkpoint(metrics):
    values = [0.9, 0.9, 1.0, 1.1, 2.9, 0.0, 1.6, 0.2]
    unbroken = Watch([LOW], metrics, is_main=False)
    wanted = [unbroken.look(step, {"x": value}) for step, value in enumerate(values)]
    for cut in range(len(values)):
        before, after = Watch([LOW], metrics, is_main=False), Watch([LOW], metrics, is_main=False)
        found = [before.look(step, {"x": value}) for step, value in enumerate(values[:cut])]
        after.load_state_dict(json.loads(json.dumps(before.state_dict())))
        found += [after.look(cut + step, {"x": value}) for step, value in enumerate(values[cut:])]
        assert found == wanted, f"cut after {cut}"


def test_every_alarm_of_the_configuration_watches_something_and_can_be_switched_off():
    assert set(AlarmsConfig.model_fields) == set(KINDS)
    assert [alarm.name for alarm in alarms_from(AlarmsConfig())] == list(KINDS)
    quiet = AlarmsConfig(kl_spike=None, entropy_collapse=EntropyCollapse(limit=0.2))
    chosen = {alarm.name: alarm for alarm in alarms_from(quiet)}
    assert set(KINDS) - set(chosen) == {"kl_spike"}
    assert chosen["entropy_collapse"].rule == Level(limit=0.2, steps=5, above=False)


# Fifteen steps as they should be, then what goes wrong.
TROUBLES = {
    "entropy_collapse": [0.6] * 15 + [0.03] * 5,
    "entropy_explosion": [0.4] * 15 + [1.2] * 5,
    "length_jump": [3000.0] * 15 + [5000.0] * 5,
    "repetition": [0.3] * 15 + [0.6] * 5,
    "missing_end": [0.05] * 15 + [0.4] * 5,
    "reward_stuck": [0.3 + 0.001 * step for step in range(200)] + [0.5] * 200,
    "verifier_failures": [0.001] * 15 + [0.1] * 3,
    "kl_spike": [0.005] * 15 + [0.4],
    "kl_dominates": [0.01] * 15 + [0.7] * 10,
    "gradient_spike": [0.2] * 15 + [4.0],
    "few_groups_teach": [0.5] * 15 + [0.02] * 3,
    "sampler_mismatch": [1.01] * 15 + [1.2] * 3,
    "sampler_drift": [1e-4] * 15 + [0.01] * 3,
    "correction_drops": [0.01] * 15 + [0.5] * 5,
    "stale_groups": [0.01] * 15 + [0.2] * 3,
    "ratios_not_one": [1e-6] * 15 + [0.01],
}


@pytest.mark.parametrize("name", KINDS)
def test_each_alarm_rings_at_its_trouble_and_not_before(name, metrics):
    (alarm,) = [alarm for alarm in alarms_from(AlarmsConfig()) if alarm.name == name]
    watch = Watch([alarm], metrics, is_main=False)
    raised = [watch.look(step, {alarm.metric: value})["alarm/raised"] for step, value in enumerate(TROUBLES[name])]
    assert raised[14] == 0
    assert raised[-1] == 1
