"""What befalls a job on a cluster, on a real Slurm: each ends or recovers as docs/cluster.md says, and in time.

Many faults in a row at random moments, with a report of what was hit and lost:

    PRORL_FAULTS=20 python -m pytest tests/cluster/test_faults.py -k random -s
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cluster.jobs import ONE_TASK, Job, newest_checkpoint, same_record, tear, tiny, unbroken_run
from tests.cluster.local_slurm import LocalSlurm
from tests.end_to_end.test_kills import newest_whole, steps_recorded

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

FAULTS = int(os.environ.get("PRORL_FAULTS", "0"))
RANKS = int(os.environ.get("PRORL_FAULTS_RANKS", "4"))  # 2 or 4, on two nodes
SEED = int(os.environ.get("PRORL_FAULTS_SEED", str(time.time_ns() % 1_000_000)))  # said when it fails
IN_TIME_SECONDS = 60.0
QUIET_START_SECONDS = 25.0  # from sbatch to the first step on two cores with nothing else to do
SILENT = "run.watchdog.silent_seconds=20"
NO_WARNING = "--signal=B:CONT@1"  # instead of USR1, five minutes before
TENSOR = "megatron.tensor_parallel_size=2"


@pytest.mark.timeout(1800)  # five starts of four ranks
def test_one_job_comes_back_from_everything_that_befalls_it(
    slurm: LocalSlurm, model: Path, problems: Path, unbroken: Path, tmp_path: Path
) -> None:
    began = time.monotonic()
    patient = {"PRORL_MAX_FAILURES": "5"}  # steps of this recipe are few, so checkpoints are, too
    settings = tiny(model, problems, tmp_path / "run", TENSOR, SILENT)
    job = Job(slurm, settings, tmp_path, environment=patient)
    job.until_step(2)
    in_time = IN_TIME_SECONDS * max(1.0, (time.monotonic() - began) / QUIET_START_SECONDS)

    job.kill(3)  # as the kernel does when memory is out
    assert job.until_attempt_ends(0) < in_time
    assert said(
        job, 0, "failed (exit code 12): PeerLostError: rank 3", "ended without a word", "failure 1 of at most 5"
    )
    torn = newest_checkpoint(job.run_dir)
    tear(torn)

    job.until_step(2)
    log = (tmp_path / "logs" / f"prorl-train-{job.number}" / "attempt_1" / "rank_0.log").read_text()
    assert torn.name in log
    job.kill(1, signal.SIGSTOP)  # as a driver or a file system does that never answers
    assert job.until_attempt_ends(1) < in_time
    assert said(job, 1, "failed (exit code 13): HungRankError: rank 1", "no sign of life", "phase")

    job.until(lambda: len(slurm.processes(job.number)) == 4)
    slurm.run("scancel", "--batch", "--signal=USR1", job.number)  # while ranks import torch
    job.until_attempt_ends(2)
    assert said(job, 2, "stopped and saved after step")

    before = newest_whole(job.run_dir)
    job.until_step(before)
    job.kill_all()
    assert job.until_attempt_ends(3) < in_time
    assert said(job, 3, "it did not say how it ended")

    assert job.wait() == "COMPLETED", job.everything()
    assert slurm.job(job.number)["Restarts"] == "4"
    assert same_record(job.run_dir, unbroken)


def said(job: Job, attempt: int, *words: str) -> bool:
    """Whether the verdict on an attempt has all these words; it is one line."""
    line = job.verdict(attempt) or ""
    assert all(word in line for word in words), f"{words} not in {line!r}\n{job.everything()}"
    return True


def test_a_full_disk_is_foreseen_and_ends_the_job_with_a_line_and_room_lets_it_go_on(
    slurm: LocalSlurm, model: Path, problems: Path, tmp_path: Path
) -> None:
    with small_disk(tmp_path / "disk", "2m") as disk:
        settings = tiny(model, problems, disk / "run")
        careful = {"PRORL_PREFLIGHT": "1", "PRORL_FREE_GIB": "1", "PRORL_PREFLIGHT_SECONDS": "200"}
        foreseen = Job(slurm, settings, tmp_path, options=ONE_TASK, environment={**careful, "PRORL_MAX_FAILURES": "1"})
        assert foreseen.wait() == "FAILED"
        assert "failed   free space" in foreseen.output(), foreseen.everything()
        assert "the preflight failed: see above; that makes 1 since checkpoint none" in foreseen.output()

        job = Job(slurm, settings, tmp_path, options=ONE_TASK)
        assert job.wait() == "FAILED", job.everything()
        assert slurm.job(job.number)["ExitCode"] in ("5:0", "9:0")
        assert slurm.job(job.number)["Restarts"] == "0"  # it would happen again
        told = job.verdict(0) or ""  # torch's writer doesn't hand on why a file isn't whole
        assert "No space left on device" in told or "the disk is probably full" in told, job.everything()

        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True, timeout=20)
        again = Job(slurm, settings, tmp_path, options=ONE_TASK)
        assert again.wait() == "COMPLETED", again.everything()
        assert (disk / "run" / "export" / "model.safetensors").is_file()


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own, where one may be mounted."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True, timeout=20
    )
    if mounted.returncode:
        pytest.skip(f"no file system may be mounted here: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, timeout=20)


@pytest.mark.skipif(not FAULTS, reason="waits for Slurm's clock, two minutes: PRORL_FAULTS=20")
def test_out_of_time_before_it_had_stopped_the_job_comes_back(
    slurm: LocalSlurm, model: Path, problems: Path, tmp_path: Path
) -> None:
    more = ("run.stop_margin_minutes=0", "recipe.stages.tiny_second.steps=1000")
    job = Job(
        slurm, tiny(model, problems, tmp_path / "run", *more), tmp_path, options=(*ONE_TASK, "--time=1", NO_WARNING)
    )
    job.until(lambda: slurm.job(job.number)["Restarts"] == "1")
    slurm.run("scancel", job.number)
    assert "out of time before the run had stopped" in job.output()


# -------------------------------------------------------------------------------------------------------------- random


@pytest.mark.timeout(600 * FAULTS)
@pytest.mark.skipif(not FAULTS, reason="takes an hour: PRORL_FAULTS=20")
def test_random_faults_in_a_row_lose_nothing_beyond_the_save_interval(
    slurm: LocalSlurm, model: Path, problems: Path, tmp_path: Path
) -> None:
    chance, more = random.Random(SEED), (TENSOR, SILENT, f"recipe.stages.tiny_second.steps={3 * FAULTS}")
    (tmp_path / "other").mkdir()
    unbroken = unbroken_run(model, problems, tmp_path / "other", *more, ranks=RANKS)
    shape = ("--nodes=2", f"--ntasks-per-node={RANKS // 2}", "--gpus-per-node=2", "--cpus-per-task=1")
    settings = tiny(model, problems, tmp_path / "run", *more)
    job = Job(slurm, settings, tmp_path, options=shape, environment={"PRORL_MAX_FAILURES": "1000"})
    hit, lost, seconds = Counter[str](), list[int](), list[float]()
    for attempt in range(FAULTS):
        job.until(lambda: len(slurm.processes(job.number)) == RANKS)
        if chance.random() < 0.75:
            job.until_step(newest_whole(job.run_dir) + chance.choice((0, 1, 2)))
        time.sleep(chance.uniform(0.0, 1.5))
        began, recorded, phase = time.monotonic(), steps_recorded(job.run_dir), job.phase()
        kinds = ("kill", "kill all", "requeue", "USR1", "torn")
        # Starting may take run.watchdog.starting_minutes, so a rank that has stopped then is noticed late.
        kind = chance.choice((*kinds, "stop") if phase not in ("import", "starting") else kinds)
        befall(job, kind, chance)
        job.until(lambda number=attempt: slurm.job(job.number)["Restarts"] == str(number + 1))
        seconds.append(time.monotonic() - began)
        if kind == "torn" and newest_whole(job.run_dir) > 1:
            tear(newest_checkpoint(job.run_dir))
        hit[f"{kind} in {phase}"] += 1
        lost.append(recorded - newest_whole(job.run_dir))
        print(
            json.dumps({"fault": attempt + 1, "kind": kind, "phase": phase, "seconds": round(seconds[-1], 1)}),
            flush=True,
        )
    assert job.wait() == "COMPLETED", job.everything()
    assert same_record(job.run_dir, unbroken), f"seed {SEED}"
    assert max(lost) <= 2, f"seed {SEED}"
    told = {"seed": SEED, "ranks": RANKS, "lost steps": lost, "seconds": [round(one, 1) for one in seconds], "hit": hit}
    print(json.dumps(told, indent=1))


def befall(job: Job, kind: str, chance: random.Random) -> None:
    """Let one fault happen."""
    slurm, number = job.slurm, job.number
    if kind in ("kill", "torn", "stop"):
        job.kill(chance.randrange(RANKS), signal.SIGSTOP if kind == "stop" else signal.SIGKILL)
    elif kind == "kill all":
        job.kill_all()
    elif kind == "USR1":
        slurm.run("scancel", "--batch", "--signal=USR1", number)
    else:  # as Slurm does that preempts: TERM, and KILL after KillWait
        slurm.run("scontrol", "requeue", number)
