"""A run that is asked to stop saves, says so with its exit code, and goes on as if nothing had happened."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nemo_prorl.cli import main
from tests.end_to_end.forked import Forked, finish_forked, in_phase, status
from tests.end_to_end.runs import records, settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

STOPPED = 75
UNHURRIED = "rollout.name=tests.end_to_end.plugins:Unhurried"
FILES = ("metrics.jsonl", "samples.jsonl")


@pytest.fixture(scope="module")
def unbroken(model: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """The folder of a run that nobody stopped, by its number of ranks."""
    folders: dict[int, Path] = {}

    def of_ranks(ranks: int) -> Path:
        if ranks not in folders:
            folder = tmp_path_factory.mktemp(f"unbroken_{ranks}")
            finish_forked(settings(model, problems, folder / "run", UNHURRIED), folder / "logs", ranks=ranks)
            folders[ranks] = folder / "run"
        return folders[ranks]

    return of_ranks


def stop(
    arguments: list[str], logs: Path, has_come: Callable[[], bool], how: Callable[[Forked], None], ranks: int
) -> None:
    """Start a run, ask it to stop when the moment has come, and see it stop."""
    with Forked(arguments, logs, ranks=ranks) as run:
        assert run.until(has_come), f"it ended before\n{run.output()}"
        how(run)
        assert run.wait() == [STOPPED] * ranks, run.output()
        assert "the same command goes on" in run.output()


def same_records(one: Path, other: Path) -> None:
    for file in FILES:
        assert records(one, None, file) == records(other, None, file), file


@pytest.mark.parametrize("ranks", [1, 2])
def test_stopped_in_any_phase_it_goes_on_with_the_same_record(
    ranks: int, model: Path, problems: Path, tmp_path: Path, unbroken: Callable[[int], Path]
) -> None:
    """Signals reach only the last rank. In the first rollouts and validations nothing of the phase is kept.

    Steps 2 and 4 validate and save, step 3 resets. What comes in a phase that is not given up ends after its step.
    """
    run_dir = tmp_path / "run"
    arguments = settings(model, problems, run_dir, UNHURRIED)
    last = [ranks - 1]
    moments: list[tuple[str, int, Callable[[Forked], None], tuple[int, ...]]] = [
        ("validation", 0, lambda run: run.signal(signal.SIGTERM, last), (0,)),
        ("rollout", 0, lambda run: run.signal(signal.SIGUSR1, last), (0,)),
        ("validation", 2, lambda run: run.signal(signal.SIGINT, last), (2,)),
        ("logprobs", 2, lambda run: run.signal(signal.SIGUSR1, last), (3,)),
        ("update", 3, lambda run: run.signal(signal.SIGTERM, last), (4,)),
        ("checkpoint", 4, lambda run: run.signal(signal.SIGTERM), (4,)),
    ]
    for attempt, (phase, step, how, stands_at) in enumerate(moments, start=1):
        stop(arguments, tmp_path / f"logs_{attempt}", in_phase(run_dir, phase, step, attempt), how, ranks)
        said = status(run_dir)
        assert (said["state"], said["exit_code"], said["attempt"]) == ("stopped", STOPPED, attempt), said
        assert said["step"] in stands_at, f"asked in {phase} after step {step}, but it stands at {said['step']}"
    finish_forked(arguments, tmp_path / "logs_last", ranks=ranks)
    same_records(run_dir, unbroken(ranks))
    attempts = [json.loads(path.read_text()) for path in sorted(run_dir.glob("attempts/*/attempt.json"))]
    assert [attempt["state"] for attempt in attempts] == ["stopped"] * len(moments) + ["finished"]
    assert all((run_dir / f"attempts/0001/logs/rank_{rank:05d}.log").stat().st_size for rank in range(ranks))


def test_the_end_of_its_time_and_a_stop_file_stop_a_run(
    model: Path, problems: Path, tmp_path: Path, unbroken: Callable[[int], Path]
) -> None:
    """By run.max_hours, which is over before the first step; by the Slurm job's end, which is near; by the file."""
    run_dir = tmp_path / "run"
    arguments = settings(model, problems, run_dir, UNHURRIED)
    soon = {"SLURM_JOB_END_TIME": str(int(time.time()) + 300)}
    for limits, environment, said in (
        (["run.max_hours=0.0001", "run.stop_margin_minutes=0"], {}, "run.max_hours=0.0001 are over"),
        ([], soon, "the Slurm job ends"),
    ):
        with Forked([*arguments, *limits], tmp_path / f"logs_{len(limits)}", environment=environment) as run:
            assert run.wait() == [STOPPED], run.output()
            assert said in run.output()
    assert not list(run_dir.glob("checkpoints/iter_*")), "there was nothing to save"
    stop(arguments, tmp_path / "logs_file", in_phase(run_dir, "rollout", 1), lambda run: (run_dir / "STOP").touch(), 1)
    assert not (run_dir / "STOP").exists()
    finish_forked(arguments, tmp_path / "logs_last")
    same_records(run_dir, unbroken(1))


def test_a_live_run_takes_requests_and_nobody_else_beside_it(
    model: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`prorl stop` and `prorl reset` speak to live runs only, and a second process is refused at once."""
    run_dir = tmp_path / "run"
    arguments = settings(model, problems, run_dir, UNHURRIED, steps=500)
    assert main(["stop", str(run_dir)]) == 2
    assert "is not the folder of a run" in capsys.readouterr().err
    with Forked(arguments, tmp_path / "logs") as run:
        assert run.until(in_phase(run_dir, "rollout"))
        with Forked(arguments, tmp_path / "logs_second") as second:
            assert second.wait() == [10]
            assert "is in use by attempt 1 (process" in second.output()
        assert main(["stop", str(run_dir), "--dry-run"]) == 0
        assert main(["reset", str(run_dir), "--reason", "a hunch"]) == 0
        assert run.until(lambda: any(run_dir.glob("requests/done/reset_*.json")))
        assert main(["stop", str(run_dir), "--reason", "maintenance"]) == 0
        capsys.readouterr()
        assert run.wait() == [STOPPED]
    assert "STOP file: maintenance" in status(run_dir)["reason"]
    (request,) = run_dir.glob("requests/done/reset_*.json")
    (reset,) = (record for record in records(run_dir, "reset") if "on request: a hunch" in record["note"])
    assert json.loads(request.read_text())["obeyed_after_step"] == reset["step"]
    assert main(["reset", str(run_dir), "--reason", "a hunch"]) == 2
    said = capsys.readouterr().err
    assert "no run is live" in said
    assert "attempt 1 was the last and is stopped" in said
    assert len(list(run_dir.glob("attempts/*"))) == 1


def test_two_ranks_beside_a_live_run_are_both_refused(model: Path, problems: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    arguments = settings(model, problems, run_dir, UNHURRIED, steps=500)
    with Forked(arguments, tmp_path / "logs") as run:
        assert run.until(in_phase(run_dir, "rollout"))
        with Forked(arguments, tmp_path / "logs_second", ranks=2) as second:
            assert second.wait() == [10, 10], second.output()
        run.signal(signal.SIGTERM)
        assert run.wait() == [STOPPED]
