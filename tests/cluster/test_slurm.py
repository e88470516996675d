"""What Slurm makes of the scripts: sizes, settings that are wrong, chains, arrays, the preflight."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster.conftest import or_skip
from tests.cluster.jobs import ONE_TASK, SHAPE, Job, job_environment, tiny
from tests.cluster.local_slurm import LocalSlurm
from tests.end_to_end.runs import ROOT

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]
SLURM = ROOT / "slurm"


def test_every_script_passes_unchanged_on_six_nodes_of_eight_gpus(tmp_path: Path) -> None:
    or_skip()
    with LocalSlurm(nodes=6, cpus=112, gpus=8, memory_mb=2_000_000) as cluster:
        for script in ("train.sbatch", "sft.sbatch", "evaluate.sbatch", "convert.sbatch", "preflight.sh"):
            assert "to start at" in cluster.run("sbatch", "--test-only", SLURM / script)
        assert "to start at" in cluster.run("sbatch", "--test-only", "--nodes=6", SLURM / "train.sbatch")
        for preset in ("1gpu", "1x8", "4x8"):
            said = cluster.run(SLURM / "submit.sh", "--preset", preset, "--test-only", "train", "recipe=prorl")
            assert "to start at" in said
        too_many = subprocess.run(
            ["sbatch", "--test-only", "--gpus-per-node=9", SLURM / "train.sbatch"],
            env=cluster.environment,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert too_many.returncode != 0  # so that the others passing means something


def test_settings_that_are_wrong_end_the_job_with_one_message(
    slurm: LocalSlurm, model: Path, problems: Path, tmp_path: Path
) -> None:
    job = Job(slurm, tiny(model, problems, tmp_path / "run", "optimizer.learning_rate=1"), tmp_path)
    assert job.wait() == "FAILED"
    assert slurm.job(job.number)["ExitCode"] == "2:0"
    assert job.output().count("learning_rate") == 1
    assert "the settings can't be used (exit code 2)" in job.output()
    assert not job.run_dir.exists()


def test_a_chain_ends_as_soon_as_its_work_is_done(slurm: LocalSlurm, model: Path, tmp_path: Path) -> None:
    said = submit(slurm, tmp_path, "--chain", "2", *ONE_TASK, "--mem=0", "convert", "info", str(model))
    first, second = said.split()
    assert slurm.job(second)["Dependency"].startswith("singleton")
    assert (slurm.wait(first), slurm.wait(second)) == ("COMPLETED", "COMPLETED")
    (log,) = (tmp_path / "logs" / f"prorl-convert-{first}" / "attempt_0").glob("rank_0.log")
    assert "31,648" in log.read_text()
    assert "the chain is over: done" in (tmp_path / f"prorl-convert-{second}.out").read_text()


def test_each_seed_of_an_array_has_its_seed_and_folder_and_is_requeued_alone(
    slurm: LocalSlurm, model: Path, problems: Path, tmp_path: Path
) -> None:
    """As their plans say; the runs are cancelled before they have done much."""
    settings = tiny(model, problems, tmp_path / "run")
    array = submit(slurm, tmp_path, "--seeds", "4-5", *ONE_TASK, "train", *settings).strip()
    slurm.until(lambda: batch_output(tmp_path).count("train on") == 2, 300, lambda: batch_output(tmp_path))
    slurm.run("scancel", "--batch", "--signal=USR1", f"{array}_4")
    plans = (tmp_path / "logs").glob
    slurm.until(lambda: len(list(plans("*/plan.txt"))) == 2, 300, lambda: batch_output(tmp_path))
    slurm.until(lambda: slurm.job(f"{array}_4")["Restarts"] == "1", 120, lambda: batch_output(tmp_path))
    assert slurm.job(f"{array}_5")["Restarts"] == "0", batch_output(tmp_path)
    slurm.run("scancel", array)
    first, second = sorted(path.read_text() for path in plans("*/plan.txt"))
    assert "seed 4\n" in first
    assert f"{tmp_path}/run/seed_4\n" in first
    assert "seed 5\n" in second
    assert f"{tmp_path}/run/seed_5\n" in second


def test_the_preflight_looks_at_every_task(slurm: LocalSlurm, tmp_path: Path) -> None:
    limits = {"PRORL_PREFLIGHT_SECONDS": "200", "PRORL_FREE_GIB": "0"}
    job = Job(slurm, [str(tmp_path)], tmp_path, options=SHAPE, script="preflight.sh", environment=limits)
    assert job.wait() == "COMPLETED", job.everything()
    assert "4 ranks on 2 hosts: ready" in job.output()
    assert "all 4 ranks see each other" in job.output()
    assert "gloo, met in" in job.output()


def batch_output(folder: Path) -> str:
    return "\n".join(path.read_text(errors="replace") for path in folder.glob("*.out"))


def submit(slurm: LocalSlurm, folder: Path, *arguments: str) -> str:
    """What submit.sh says: the numbers of jobs."""
    done = subprocess.run(
        [str(SLURM / "submit.sh"), *arguments],
        env={**slurm.environment, **job_environment()},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
