"""Weights & Biases in small: a service that takes what it is told, or never does."""

import sys
import threading
from types import SimpleNamespace

import pytest

from nemo_prorl.telemetry import sinks
from nemo_prorl.telemetry.sinks import WandbSink


class Service:
    """Stands for the library and for its run. `takes`: whether it ever finishes."""

    def __init__(self, takes):
        self.runs, self.logged, self.torn_down = [], [], False
        self._takes = threading.Event()
        if takes:
            self._takes.set()

    def init(self, **settings):
        self.runs.append(settings)
        return SimpleNamespace(
            define_metric=lambda *_, **__: None, log=self.logged.append, finish=lambda: self._takes.wait(60.0)
        )

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


def test_a_service_that_never_takes_the_last_metrics_is_left_behind(service, tmp_path, caplog):
    wandb = service(takes=False)
    WandbSink("project", tmp_path, {}).close()
    assert "has not taken the last metrics within 0 s" in caplog.text and "'wandb sync'" in caplog.text
    assert wandb.torn_down, "or it would wait again when the process ends"
