"""The batch scripts and submit.sh, without a cluster: what they would start."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest

from nemo_prorl.errors import FINAL_CODES
from tests.end_to_end.runs import ROOT

SLURM = ROOT / "slurm"
# What users type, and what any shell would like to take apart.
AWKWARD = [
    "data.tasks=[a,b, c]",
    "a='x, y: {z}'",
    'b="two words"',
    "~c.d",
    "+e={name: jsonl, path: '/a b/$HOME'}",
    "f=*",
]
BATCH_SCRIPTS = ["train", "sft", "evaluate", "convert"]


def run(*command: str | Path, folder: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not re.match("SLURM|SBATCH|PRORL|CONTAINER", name)}
    return subprocess.run(
        [*map(str, command)],
        env={**clean, **environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )


def dry_run(name: str, *arguments: str, folder: Path | None = None, **environment: str) -> list[str]:
    """The words of the line that would start the tasks."""
    done = run("bash", SLURM / f"{name}.sbatch", "--dry-run", *arguments, folder=folder, **environment)
    assert done.returncode == 0, done.stderr
    return shlex.split(done.stdout)


@pytest.mark.parametrize("name", BATCH_SCRIPTS)
def test_settings_reach_the_command_as_they_were_typed(name):
    line = dry_run(name, *AWKWARD, PRORL_PYTHON="/a b/python")
    at = line.index("/a b/python")
    assert line[0] == "srun"
    assert line[at:] == ["/a b/python", "-m", "nemo_prorl", name, *AWKWARD]


def test_without_an_image_nothing_is_said_of_containers():
    assert not [word for word in dry_run("train") if "container" in word]


def test_with_an_image_srun_is_told_of_it_and_of_every_folder(tmp_path):
    line = dry_run(
        "train", "recipe=tiny", folder=tmp_path, CONTAINER_IMAGE="/images/a.sqsh", CONTAINER_MOUNTS="/data:/data:ro"
    )
    assert "--container-image=/images/a.sqsh" in line
    assert f"--container-mounts={tmp_path}:{tmp_path},{ROOT}:{ROOT},/data:/data:ro" in line
    assert f"--container-workdir={tmp_path}" in line
    assert "--no-container-mount-home" in line
    kept = next(word for word in line if word.startswith("--container-env="))
    assert {"MASTER_ADDR", "MASTER_PORT", "PYTHONPATH", "SLURM_JOB_END_TIME"} <= set(kept.partition("=")[2].split(","))
    assert line[line.index("python") :] == ["python", "-m", "nemo_prorl", "train", "recipe=tiny"]


def test_the_environment_of_tasks_is_what_was_set_before_or_else_the_files_own():
    told = "source slurm/environment.sh; echo $NCCL_DEBUG $OMP_NUM_THREADS $CUDA_DEVICE_MAX_CONNECTIONS"
    done = run("bash", "-euc", told, folder=ROOT, NCCL_DEBUG="INFO", OMP_NUM_THREADS="")
    assert done.stdout.split() == ["INFO", "1", "1"], done.stderr


def test_a_sites_own_file_is_read_first(tmp_path):
    (tmp_path / "site").write_text("export NCCL_SOCKET_IFNAME=ib0 NCCL_DEBUG=TRACE\n")
    told = "source slurm/environment.sh; echo $NCCL_SOCKET_IFNAME $NCCL_DEBUG"
    done = run("bash", "-euc", told, folder=ROOT, PRORL_SITE=str(tmp_path / "site"))
    assert done.stdout.split() == ["ib0", "TRACE"]


def test_the_scripts_and_the_trainer_agree_on_what_is_not_started_again():
    said = re.search(r"^FINAL_CODES='([\d ]*)'", (SLURM / "verdict.sh").read_text(), re.MULTILINE)
    assert said is not None
    assert {int(code) for code in said[1].split()} == FINAL_CODES


def test_outside_of_a_job_a_batch_script_says_how_to_start_it():
    done = run("bash", SLURM / "train.sbatch", "recipe=tiny")
    assert done.returncode == 2
    assert "sbatch" in done.stderr


# ------------------------------------------------------------------------------------------------------- submit.sh


def submitted(*arguments: str) -> list[list[str]]:
    """The words of each line of sbatch."""
    done = run(SLURM / "submit.sh", "--dry-run", *arguments)
    assert done.returncode == 0, done.stderr
    return [shlex.split(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(("preset", "nodes", "gpus"), [("1gpu", 1, 1), ("1x8", 1, 8), ("4x8", 4, 8)])
def test_a_preset_is_one_task_a_gpu(preset, nodes, gpus):
    (line,) = submitted("--preset", preset, "train", "recipe=prorl")
    assert {f"--nodes={nodes}", f"--ntasks-per-node={gpus}", f"--gpus-per-node={gpus}"} <= set(line)
    assert line[-2:] == [str(SLURM / "train.sbatch"), "recipe=prorl"]


def test_what_was_typed_stands_after_the_preset_so_it_wins():
    (line,) = submitted("--preset", "1x8", "--nodes=2", "--account=mine", "train")
    assert line.index("--nodes=2") > line.index("--nodes=1")
    assert "--account=mine" in line


def test_a_chain_is_jobs_of_one_name_of_which_one_runs_at_a_time():
    lines = submitted("--chain", "3", "train", *AWKWARD)
    assert len(lines) == 3
    assert len({line[0] for line in lines}) == 1
    assert lines[0][0].startswith("PRORL_CHAIN=prorl-train-")
    assert all({"--dependency=singleton", "--job-name=prorl-train"} <= set(line) for line in lines)
    assert all(line[-len(AWKWARD) :] == AWKWARD for line in lines)


def test_seeds_are_an_array_in_which_each_has_a_folder_of_its_own():
    (line,) = submitted("--seeds", "0-3", "train", "run.dir='runs/my own'", "recipe=tiny")
    assert "--array=0-3" in line
    job = "${oc.env:SLURM_ARRAY_TASK_ID}"
    assert line[-3:] == [f"run.dir='runs/my own/seed_{job}'", "recipe=tiny", f"run.seed={job}"]


def test_seeds_in_chains_are_a_chain_for_each():
    lines = submitted("--seeds", "04-05", "--chain", "2", "train", "run.dir=runs/a")
    assert [line[-2:] for line in lines] == [
        [f"run.dir=runs/a/seed_{seed}", f"run.seed={seed}"] for seed in (4, 4, 5, 5)
    ]
    assert len({line[0] for line in lines}) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--preset", "9x9", "train"], "no preset 9x9: there is 1gpu 1x8 4x8"),
        (["--chain", "0", "train"], "how many jobs"),
        (["--seeds", "0-3", "train"], "needs run.dir="),
        (["--seeds", "3-0", "train", "run.dir=a"], "the first is above the last"),
        (["--seeds", "0-3", "train", "run.dir=a", "run.seed=1"], "leave run.seed=1 out"),
        (["-p", "debug", "train"], "--name=value"),
        (["walk"], "no walk.sbatch here"),
    ],
)
def test_what_cannot_be_submitted_is_refused_in_a_sentence(arguments, words):
    done = run(SLURM / "submit.sh", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
