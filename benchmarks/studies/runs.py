"""Trains the arms of a study: each a `prorl train` in a process of its own, which resumes where it was killed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tqdm import tqdm

from benchmarks.studies.arms import BASE, Arm
from nemo_prorl.analysis.history import RunHistory
from nemo_prorl.commands.quickstart import jobs, make_model


def cold_start(folder: Path, seed: int) -> Path:
    """The quickstart's cold start, where all arms of a seed begin; made once."""
    here = folder / f"seed_{seed}"
    careful, hasty, _ = jobs(here, seed, fast=False)
    if not hasty.export.is_dir():
        if not careful.export.is_dir():
            make_model(here / "model", seed, fast=False)
        for job in (careful, hasty):
            _run(job.arguments, here / f"{job.command}.log")
    return hasty.export


def train(folder: Path, arms: Iterable[Arm], seeds: Iterable[int], *, processes: int) -> None:
    """Every arm for every seed, so many at once."""
    wanted = [(arm, seed) for seed in seeds for arm in arms]
    starts = {seed: cold_start(folder, seed) for seed in sorted({seed for _, seed in wanted})}
    with ThreadPoolExecutor(processes) as pool, tqdm(total=len(wanted), unit="run") as bar:
        for _ in pool.map(lambda run: _train(folder, *run, starts[run[1]]), wanted):
            bar.update()


def history(folder: Path, arm: Arm, seed: int) -> RunHistory:
    """What a trained arm has recorded."""
    return RunHistory.read(run_dir(folder, arm, seed), arm.name)


def run_dir(folder: Path, arm: Arm, seed: int) -> Path:
    return folder / f"seed_{seed}" / arm.folder


def _train(folder: Path, arm: Arm, seed: int, model: Path) -> None:
    own = run_dir(folder, arm, seed)
    settings = (f"run.dir='{own}'", f"run.seed={seed}", f"model.path='{model}'", *arm.overrides)
    arguments = [sys.executable, "-m", "nemo_prorl", "train", *BASE, *settings]
    _run(arguments, own.with_name(f"{own.name}.log"))


def _run(arguments: list[str], log: Path) -> None:
    """
    Raises:
        SystemExit: it failed; its log is named.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        done = subprocess.run(
            arguments, stdout=output, stderr=subprocess.STDOUT, env={**os.environ, "OMP_NUM_THREADS": "1"}
        )
    if done.returncode:
        raise SystemExit(f"{' '.join(arguments[1:])} ended with {done.returncode}; see {log}")
