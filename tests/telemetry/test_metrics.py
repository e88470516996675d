"""Metrics of a step add up, and the log is exact, loud about what isn't a number, and written by one rank."""

import errno
import math
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from nemo_prorl.algorithm.reduction import Max, Mean, Min
from nemo_prorl.config.kept import TelemetryConfig
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.trajectory import Completion, Group, Verdict
from nemo_prorl.errors import ConfigError, RunFolderError, TrainingError
from nemo_prorl.telemetry.metrics import MetricsLog, StepMetrics
from nemo_prorl.telemetry.records import read_records

QUIET = TelemetryConfig(tensorboard=False)


def mean(total, count):
    return Mean(torch.tensor(float(total)), torch.tensor(count))


def group(uid, texts, rewards):
    prompt = Prompt(uid, "logic", "lcm", "me", ({"role": "user", "content": f"{uid}?"},), (7, 8, 9), "logic", {})
    completions = tuple(Completion(np.arange(len(t) + 1, dtype=np.int32), None, "stop", t) for t in texts)
    return Group(prompt, completions, tuple(Verdict(r, "because") for r in rewards))


def test_means_add_up_by_total_and_count_and_of_numbers_the_last_stays():
    """3/2 and 5/6 make 8/8; a mean of the means would say 7/6."""
    metrics = StepMetrics().add({"policy/loss": mean(3, 2), "optimizer/lr": 0.1})
    metrics.add({"policy/loss": mean(5, 6), "optimizer/lr": 0.2})
    assert metrics.values() == {"policy/loss": 1.0, "optimizer/lr": 0.2}


def test_extremes_stay_extreme_and_names_come_in_order():
    metrics = StepMetrics()
    for high, low in ((2.0, 0.5), (3.0, 0.75)):
        metrics.add({"z": Max(torch.tensor(high)), "a": Min(torch.tensor(low))})
    assert list(metrics.values().items()) == [("a", 0.5), ("z", 3.0)]


def test_the_first_update_is_kept_apart():
    metrics = StepMetrics()
    for value in (0.0, 4.0):
        update = {"policy/approximate_kl": mean(value, 1), "other": mean(9, 1)}
        metrics.keep_first(update, ["policy/approximate_kl", "absent"]).add(update)
    assert metrics.values() == {"policy/approximate_kl": 2.0, "policy/approximate_kl_first_update": 0.0, "other": 9.0}


def test_a_record_holds_step_kind_note_time_and_the_metrics(tmp_path):
    with MetricsLog(tmp_path, QUIET, is_main=True, resolved={"run": {"seed": 3}}) as metrics:
        metrics.resume(None)
        metrics.write(1, {"a": 0.1, "n": 3, "np": np.float32(0.5)}, note="s1")
        metrics.write(1, {"reset/count": 1}, kind="reset", note="every 15 steps")
    train, reset = read_records(tmp_path / "metrics.jsonl")
    assert train.pop("time/unix_seconds") > 1.6e9
    assert train == {"step": 1, "kind": "train", "note": "s1", "a": 0.1, "n": 3, "np": 0.5}
    assert (reset["kind"], reset["note"]) == ("reset", "every 15 steps")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == {"run": {"seed": 3}}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("is_main", [True, False])
def test_what_is_not_a_number_stops_the_run_on_every_rank_by_name(tmp_path, value, is_main):
    with MetricsLog(tmp_path, QUIET, is_main=is_main, resolved={}) as metrics:
        metrics.resume(None)
        with pytest.raises(TrainingError, match=r"'policy/loss' at step 7"):
            metrics.write(7, {"policy/loss": value})


def test_other_ranks_write_nothing(tmp_path):
    with MetricsLog(tmp_path / "run", QUIET, is_main=False, resolved={}) as metrics:
        metrics.resume(None)
        metrics.write(1, {"a": 1.0})
        metrics.examples(1, [group("p", ["x"], [1.0])])
    assert not (tmp_path / "run").exists()


def test_a_resumed_log_forgets_what_came_after_the_checkpoint_samples_too(tmp_path):
    for resume_at, steps in ((None, (1, 2, 3)), (1, (2,))):
        with MetricsLog(tmp_path, QUIET, is_main=True, resolved={}) as metrics:
            metrics.resume(resume_at)
            for step in steps:
                metrics.write(step, {"life": 1 if resume_at is None else 2})
                metrics.examples(step, [group("p", ["x"], [1.0])])
    assert [(r["step"], r["life"]) for r in read_records(tmp_path / "metrics.jsonl")] == [(1, 1), (2, 2)]
    assert [r["step"] for r in read_records(tmp_path / "samples.jsonl")] == [1, 2]


def test_a_few_validated_completions_of_each_set_are_written_down_and_forgotten_like_the_rest(tmp_path):
    config = TelemetryConfig(tensorboard=False, samples_per_validation_set=2)
    sets = {"exam": [group("a", ["x", "y"], [1.0, 0.0]), group("b", ["z", ""], [0.5, 0.0])], "old": []}
    with MetricsLog(tmp_path, config, is_main=True, resolved={}) as metrics:
        metrics.resume(None)
        metrics.validation_examples(0, sets)
        metrics.validation_examples(4, sets)
    with MetricsLog(tmp_path, config, is_main=True, resolved={}) as metrics:
        metrics.resume(2)
    records = read_records(tmp_path / "validation_samples.jsonl")
    assert [(r["step"], r["set"], r["uid"], r["response"], r["reward"]) for r in records] == [
        (0, "exam", "a", "x", 1.0),
        (0, "exam", "b", "z", 0.5),
    ]


def test_samples_take_one_of_each_group_in_turn(tmp_path):
    config = TelemetryConfig(tensorboard=False, samples_per_step=3)
    groups = [group("p", ["one", "two"], [1.0, 0.0]), group("q", ["drei", "vier"], [0.0, 1.0])]
    with MetricsLog(tmp_path, config, is_main=True, resolved={}) as metrics:
        metrics.resume(None)
        metrics.examples(4, groups)
    records = read_records(tmp_path / "samples.jsonl")
    assert [r["response"] for r in records] == ["one", "drei", "two"]
    assert records[0] == {
        "step": 4,
        "uid": "p",
        "domain": "logic",
        "task": "lcm",
        "prompt": "p?",
        "response": "one",
        "reward": 1.0,
        "shaped_reward": 1.0,
        "outcome": "scored",
        "reason": "because",
        "finish_reason": "stop",
        "prompt_tokens": 3,
        "response_tokens": 4,
    }


def test_tensorboard_gets_every_scalar_and_a_resumed_run_overlays_what_was_in_vain(tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for resume_at, steps in ((None, (1, 2, 3)), (1, (2,))):
        with MetricsLog(tmp_path, TelemetryConfig(), is_main=True, resolved={}) as metrics:
            metrics.resume(resume_at)
            for step in steps:
                metrics.write(step, {"reward/sampled_mean": step / 4})
    seen = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    seen.Reload()
    assert [(e.step, e.value) for e in seen.Scalars("reward/sampled_mean")] == [(1, 0.25), (2, 0.5)]


@pytest.mark.skipif(find_spec("wandb") is not None, reason="wandb is installed here")
@pytest.mark.parametrize("is_main", [True, False])
def test_a_missing_package_is_named_with_what_to_do(tmp_path, is_main):
    config = TelemetryConfig(tensorboard=False, wandb_project="p")
    with pytest.raises(ConfigError, match=r"telemetry.wandb_project='p'.*pip install wandb.*wandb_project=null"):
        MetricsLog(tmp_path, config, is_main=is_main, resolved={})


def test_of_several_updates_mean_and_largest_gradient_stay():
    metrics = StepMetrics()
    for norm in (1.0, 6.0, 2.0):
        metrics.add({"optimizer/grad_norm": mean(norm, 1), "optimizer/grad_norm_max": Max(torch.tensor(norm))})
    assert metrics.values() == {"optimizer/grad_norm": 3.0, "optimizer/grad_norm_max": 6.0}


@pytest.mark.parametrize("in_the_way", [".", "config.yaml", "tensorboard"])
def test_a_run_folder_that_can_not_be_used_is_refused(tmp_path, in_the_way):
    """A file where the folder is to be, a folder where the configuration, a file where TensorBoard's folder."""
    run_dir = tmp_path / "run"
    if in_the_way == ".":
        run_dir.write_text("a file")
    elif in_the_way == "config.yaml":
        (run_dir / in_the_way / "inside").mkdir(parents=True)
    else:
        pytest.importorskip("tensorboard")
        run_dir.mkdir()
        (run_dir / in_the_way).write_text("a file")
    config = TelemetryConfig(tensorboard=in_the_way == "tensorboard")
    with (
        MetricsLog(run_dir, config, is_main=True, resolved={}) as metrics,
        pytest.raises(ConfigError, match=rf"run.dir={run_dir} can't be used: .*; choose another run.dir"),
    ):
        metrics.resume(None)


class FullDisk:
    """A sink that can't write, and says so at its end too."""

    place = Path("tensorboard")

    def write(self, step, values):
        raise OSError(errno.ENOSPC, "No space left on device")

    def close(self):
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_sink_that_can_not_write_ends_the_run_with_its_own_name(tmp_path, caplog):
    with (
        pytest.raises(RunFolderError, match=r"tensorboard can't be written: No space left on device"),
        MetricsLog(tmp_path, QUIET, is_main=True, resolved={}) as metrics,
    ):
        metrics.resume(None)
        metrics._sinks = (FullDisk(),)
        metrics.write(1, {"a": 1.0})
    assert "the last metrics may be missing in tensorboard" in caplog.text
    assert len(read_records(tmp_path / "metrics.jsonl")) == 1
