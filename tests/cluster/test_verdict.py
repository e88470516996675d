"""What a job makes of what its run has said: job.sh's own functions over a real status.json, in a chain, so that what
would be a requeue is an exit."""

from __future__ import annotations

from pathlib import Path

import pytest

from nemo_prorl.telemetry.status import STATUS_FILE, RunStatus
from tests.cluster.test_scripts import run
from tests.end_to_end.runs import ROOT

GOES_ON, OVER = True, False
KILLED = 137


def judged(folder: Path, code: int, before: int = 0, prelude: str = "") -> tuple[int, str, bool]:
    """Exit code, last line and whether the chain goes on, of a job whose srun has returned `code`."""
    (folder / "logs" / "prorl-train-7").mkdir(parents=True, exist_ok=True)
    told = f"source {ROOT}/slurm/job.sh; run_dir={folder}/run; {prelude} verdict {code} {before}"
    names = {"SLURM_JOB_ID": "7", "SLURM_JOB_NAME": "prorl-train", "PRORL_CHAIN": "chain"}
    done = run("bash", "-c", told, folder=folder, **names)
    return done.returncode, done.stdout.splitlines()[-1], not (folder / "logs" / "chain-chain").exists()


def say(folder: Path, attempt: int = 1, **known: object) -> None:
    """As a run does that has come so far."""
    (folder / "run").mkdir(exist_ok=True)
    RunStatus(folder / "run" / STATUS_FILE, attempt=attempt).update(**known)


FAILED = {"state": "failed", "step": 5, "reason": 'DataError: "/a, b": no such file'}
STOPPED = {"state": "stopped", "step": 5, "exit_code": 75}


@pytest.mark.parametrize(
    ("said", "srun", "expected", "words"),
    [
        ({"state": "finished", "step": 6, "exit_code": 0}, 0, (0, OVER), "done"),
        ({"state": "finished", "step": 6, "exit_code": 0}, KILLED, (0, OVER), "done"),  # ended after it had said so
        ({**STOPPED, "reason": "STOP file"}, 75, (0, OVER), "a person has stopped it"),
        ({**STOPPED, "reason": "SIGTERM"}, 143, (0, GOES_ON), "stopped and saved after step 5"),
        ({**STOPPED, "reason": "the Slurm job ends (SLURM_JOB_END_TIME)"}, 75, (0, GOES_ON), "stopped and saved"),
        ({**STOPPED, "reason": "run.max_hours=4 are over"}, 75, (0, GOES_ON), "stopped and saved"),
        ({**FAILED, "exit_code": 3}, 137, (3, OVER), 'failed (exit code 3): DataError: \\"/a, b\\": no such file'),
        ({**FAILED, "exit_code": 12}, 137, (12, GOES_ON), "failure 1 of at most 3 since checkpoint none"),
        ({**FAILED, "exit_code": 1}, 1, (1, GOES_ON), "failure 1 of at most 3"),
        ({"state": "running", "step": 5}, KILLED, (KILLED, GOES_ON), "it did not say how it ended"),
    ],
)
def test_the_runs_own_word_decides_not_what_srun_returned(said, srun, expected, words, tmp_path):
    say(tmp_path, **said)
    code, line, goes_on = judged(tmp_path, srun)
    assert (code, goes_on) == expected
    assert words in line


def test_stopped_again_and_again_before_it_has_done_anything_it_ends(tmp_path):
    """As with a time limit that is shorter than the time that it takes to stop."""
    say(tmp_path, **STOPPED, reason="SIGUSR1")
    (tmp_path / "run" / "checkpoints").mkdir()
    (tmp_path / "run" / "checkpoints" / "latest_checkpointed_iteration.txt").write_text("5")
    seen = [judged(tmp_path, 75, prelude=f"checkpoint_before={before};") for before in ("4", "5", "5", "5")]
    assert [(code, goes_on) for code, _, goes_on in seen] == [(0, GOES_ON), (75, GOES_ON), (75, GOES_ON), (75, OVER)]
    assert "without having come to a new checkpoint; that makes 3" in seen[-1][1]


def test_usr1_makes_of_a_stop_file_the_jobs_own(tmp_path):
    say(tmp_path, **STOPPED, reason="STOP file: Slurm job 7: its time is nearly up")
    assert judged(tmp_path, 75, prelude="stop_asked=1;")[2] is GOES_ON


def test_what_an_earlier_attempt_has_said_says_nothing_of_this_one(tmp_path):
    say(tmp_path, attempt=4, state="finished", step=6, exit_code=0)
    code, line, goes_on = judged(tmp_path, KILLED, before=4)
    assert (code, goes_on) == (KILLED, GOES_ON)
    assert "it did not say how it ended" in line


def test_what_ranks_have_said_is_told_where_the_main_one_could_not(tmp_path):
    say(tmp_path, state="running", step=5)
    logs = tmp_path / "logs" / "prorl-train-7" / "attempt_0"
    logs.mkdir(parents=True)
    (logs / "rank_1.log").write_text("prorl: PeerLostError (rank 1): rank 0 has ended without a word\n")
    assert "rank 0 has ended without a word" in judged(tmp_path, 12)[1]


def test_the_third_failure_without_a_new_checkpoint_is_the_last(tmp_path):
    say(tmp_path, **FAILED, exit_code=12)
    newest = tmp_path / "run" / "checkpoints" / "latest_checkpointed_iteration.txt"
    newest.parent.mkdir()
    seen = []
    for checkpoint in ("10", "10", "20", "20", "20"):
        newest.write_text(checkpoint)
        code, line, goes_on = judged(tmp_path, 12)
        seen.append((code, goes_on))
    assert seen == [(12, GOES_ON)] * 4 + [(12, OVER)]
    assert "that makes 3 since checkpoint 20" in line


def test_a_stop_file_of_ones_own_is_forgotten_and_a_persons_is_not(tmp_path):
    (tmp_path / "run").mkdir()
    stop = tmp_path / "run" / "STOP"
    told = f"source {ROOT}/slurm/job.sh; run_dir={tmp_path}/run; forget_own_stop"
    for text, stays in (("Slurm job 7: its time is nearly up", False), ("", True), ("by hand", True)):
        stop.write_text(text)
        assert run("bash", "-c", told, SLURM_JOB_ID="8").returncode == 0
        assert stop.exists() is stays
