"""Weights & Biases in small: a service that takes what it is told, or never does."""

import sys
import threading
from types import SimpleNamespace

import pytest

from nemo_prorl.config.kept import TelemetryConfig
from nemo_prorl.errors import ConfigError
from nemo_prorl.telemetry import sinks
from nemo_prorl.telemetry.metrics import MetricsLog
from nemo_prorl.telemetry.sinks import WandbSink


class Service:
    """Stands for the library and for its run. `takes`: whether it ever finishes. `breaks`: nothing else works."""

    __spec__ = "where it is installed"

    def __init__(self, takes):
        self.runs, self.logged, self.torn_down, self.breaks = [], [], False, False
        self._takes = threading.Event()
        if takes:
            self._takes.set()

    def init(self, **settings):
        self._work()
        self.runs.append(settings)
        return SimpleNamespace(define_metric=lambda *_, **__: None, log=self.log, finish=lambda: self._takes.wait(60.0))

    def log(self, values):
        self._work()
        self.logged.append(values)

    def _work(self):
        if self.breaks:
            raise BrokenPipeError("the service is gone")

    def teardown(self):
        self.torn_down = True


@pytest.fixture
def service(monkeypatch):
    def made(*, takes):
        found = Service(takes)
        monkeypatch.setitem(sys.modules, "wandb", found)
        monkeypatch.setattr(sinks, "SECONDS_TO_UPLOAD", 20.0 if takes else 0.05)
        return found

    return made


def test_a_folder_is_one_run_however_often_it_is_resumed(service, tmp_path):
    wandb = service(takes=True)
    for step in (1, 2):
        sink = WandbSink("project", tmp_path, {"run": {"seed": 3}})
        sink.write(step, {"reward/sampled_mean": 0.5})
        sink.close()
    assert wandb.runs[0] == wandb.runs[1]
    assert wandb.logged == [{"step": step, "reward/sampled_mean": 0.5} for step in (1, 2)]
    assert not wandb.torn_down


def test_a_run_that_goes_back_overlays_what_was_in_vain_and_begins_nothing_anew(service, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    wandb = service(takes=True)
    wanted = TelemetryConfig(wandb_project="project")
    with MetricsLog(tmp_path, wanted, is_main=True, resolved={}) as metrics:
        metrics.resume(None)
        for step in (1, 2, 3):
            metrics.write(step, {"reward/sampled_mean": 1.0})
        metrics.resume(1)
        metrics.write(2, {"reward/sampled_mean": 0.5})
    assert len(wandb.runs) == 1 and [values["step"] for values in wandb.logged] == [1, 2, 3, 2]
    seen = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    seen.Reload()
    assert [(event.step, event.value) for event in seen.Scalars("reward/sampled_mean")] == [(1, 1.0), (2, 0.5)]


def test_a_service_that_never_takes_the_last_metrics_is_left_behind(service, tmp_path, caplog):
    wandb = service(takes=False)
    WandbSink("project", tmp_path, {}).close()
    assert "has not taken the last metrics within 0 s" in caplog.text and "'wandb sync'" in caplog.text
    assert wandb.torn_down, "or it would wait again when the process ends"


def test_a_service_that_breaks_is_told_once_and_the_run_goes_on(service, tmp_path, caplog):
    wandb = service(takes=True)
    sink = WandbSink("project", tmp_path, {})
    sink.write(1, {"a": 1.0})
    wandb.breaks = True
    for step in (2, 3):
        sink.write(step, {"a": 1.0})
    assert [values["step"] for values in wandb.logged] == [1]
    (record,) = (record for record in caplog.records if "takes no metrics" in record.message)
    assert "since step 2: BrokenPipeError: the service is gone" in record.message


def test_a_service_that_can_not_be_begun_is_refused_with_what_to_do(service, tmp_path):
    service(takes=True).breaks = True
    with pytest.raises(ConfigError, match=r"wandb_project='p'.*BrokenPipeError: the service.*WANDB_MODE=offline"):
        WandbSink("p", tmp_path, {})
