"""status.json and attempt.json: what a watcher reads."""

import json
import subprocess
import time

import pytest

from nemo_prorl.config.schema import RunConfig, SFTConfig
from nemo_prorl.control import StopSignals
from nemo_prorl.errors import CheckpointError, ConfigError, Stopped
from nemo_prorl.telemetry.environment import environment_of_attempt, source_revision
from nemo_prorl.telemetry.run import open_run
from nemo_prorl.telemetry.status import Heartbeat, RunStatus, read_status
from nemo_prorl.telemetry.timer import Timer
from nemo_prorl.world import LocalWorld


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS"):
        monkeypatch.delenv(name, raising=False)


def config(run_dir):
    return SFTConfig.model_validate(
        {"run": {"dir": str(run_dir)}, "model": {"path": "model"}, "sft": {"source": {"name": "jsonl"}}}
    )


def said(run_dir):
    return json.loads((run_dir / "status.json").read_text())


def test_each_phase_is_there_at_once_and_the_outer_one_comes_back(tmp_path):
    timer = Timer(RunStatus(tmp_path / "status.json", attempt=3).phase)
    with timer("step"):
        with timer("rollout"):
            assert said(tmp_path)["phase"] == "rollout"
        assert said(tmp_path)["phase"] == "step"
    assert (said(tmp_path)["phase"], said(tmp_path)["attempt"]) == ("between steps", 3)


def test_the_end_is_told_from_the_pace_of_this_attempt(tmp_path, monkeypatch):
    """Steps 11 and 12 of 20 took 10 seconds: 8 more will take 40."""
    status, clock = RunStatus(tmp_path / "status.json", attempt=2), iter([100.0, 100.0, 110.0, 110.0])
    monkeypatch.setattr(time, "time", lambda: next(clock))
    status.stands_at(10, 20)
    status.stepped(12, "second")
    told = said(tmp_path)
    assert (told["state"], told["step"], told["steps"], told["stage"]) == ("running", 12, 20, "second")
    assert (told["eta_unix_seconds"], told["heartbeat_unix_seconds"]) == (150.0, 110.0)


def test_a_sign_of_life_comes_again_and_again(tmp_path):
    status = RunStatus(tmp_path / "status.json", attempt=1)
    before = said(tmp_path)["heartbeat_unix_seconds"]
    with Heartbeat(status.update, 0.02):
        time.sleep(0.3)
    assert said(tmp_path)["heartbeat_unix_seconds"] > before


def test_a_status_that_can_not_be_written_is_one_warning(tmp_path, caplog):
    status = RunStatus(tmp_path / "gone" / "status.json", attempt=1)
    status.phase("rollout")
    assert caplog.text.count("can't be written") == 1


@pytest.mark.parametrize(
    ("error", "state", "exit_code", "reason"),
    [
        (None, "finished", 0, "all steps are done"),
        (Stopped("after step 3"), "stopped", 75, "after step 3"),
        (CheckpointError("no room"), "failed", 5, "CheckpointError: no room"),
        (KeyboardInterrupt(), "failed", 130, "interrupted"),
        (ValueError("a bug"), "failed", 1, "ValueError: a bug"),
    ],
)
def test_how_a_run_ends_is_in_its_status_and_its_attempt(tmp_path, error, state, exit_code, reason):
    def live():
        with StopSignals() as signals, open_run(config(tmp_path), signals) as run:
            assert said(tmp_path)["state"] == "starting"
            run.join(LocalWorld())
            if error is not None:
                raise error

    if error is None:
        live()
    else:
        with pytest.raises(type(error)):
            live()
    record = json.loads((tmp_path / "attempts/0001/attempt.json").read_text())
    for told in (said(tmp_path), record):
        assert (told["state"], told["exit_code"], told["reason"]) == (state, exit_code, reason)
    assert record["ended_unix_seconds"] >= record["started_unix_seconds"]
    assert read_status(tmp_path)["phase"] is None
    assert "stop_margin_minutes" in (tmp_path / "attempts/0001/config.yaml").read_text()
    assert len(record["ranks"]) == 1


def test_a_folder_that_can_not_be_used_is_a_setting_to_change(tmp_path):
    (tmp_path / "file").write_text("")
    wanted = pytest.raises(ConfigError, match=r"run.dir=.*file.* can't be used")
    with StopSignals() as signals, wanted, open_run(config(tmp_path / "file"), signals):
        pass


def test_an_attempt_knows_versions_and_keeps_no_secrets():
    environment = {"SLURM_JOB_ID": "7", "SLURM_JWT": "x", "NCCL_DEBUG": "WARN", "HF_TOKEN": "x", "HOME": "/home/me"}
    known = environment_of_attempt(environment)
    assert known["environment"] == {"NCCL_DEBUG": "WARN", "SLURM_JOB_ID": "7"}
    assert {"nemo_prorl", "torch", "megatron-core"} <= known["versions"].keys()


def test_the_revision_is_that_of_the_source_if_it_is_under_git(tmp_path):
    def git(*arguments):
        subprocess.run(["git", "-C", tmp_path, "-c", "user.name=n", "-c", "user.email=e", *arguments], check=True)

    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    git("init", "-q")
    assert source_revision(package) is None, "somebody's repository, but it doesn't have the package"
    git("add", ".")
    git("commit", "-qm", "all")
    revision = source_revision(package)
    assert len(revision) == 40
    (package / "__init__.py").write_text("changed = True")
    assert source_revision(package) == f"{revision} + changes"


def test_a_time_limit_leaves_time_to_train():
    with pytest.raises(ValueError, match="greater than 0"):
        RunConfig(max_hours=0)
    with pytest.raises(ValueError, match="every start would stop before its first step"):
        RunConfig(max_hours=0.5, stop_margin_minutes=30)
    assert RunConfig(max_hours=0.5, stop_margin_minutes=29).max_hours == 0.5
