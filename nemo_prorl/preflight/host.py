"""What a host has: GPUs with their driver, and room for what a run writes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from nemo_prorl.errors import DataError
from nemo_prorl.preflight.finding import Finding

QUERY = "name,driver_version,memory.used,memory.total,ecc.errors.uncorrected.volatile.total"
BUSY_MIB = 2048  # a GPU that nobody uses has some hundreds at most
OLDEST_DRIVER = 535  # the data-centre branch from which CUDA 12 and 13 images run, by forward compatibility
GIB = 2**30


class GPU(NamedTuple):
    """A line of `nvidia-smi`. Memory in MiB; `uncorrected` errors of its memory since the driver was loaded."""

    name: str
    driver: str
    used_mib: int
    total_mib: int
    uncorrected: int

    @classmethod
    def from_line(cls, line: str) -> GPU:
        """
        Raises:
            DataError: the line isn't what was asked for.
        """
        parts = [part.strip() for part in line.split(",")]
        try:
            name, driver, used, total, errors = parts
            return cls(name, driver, int(used), int(total), int(errors) if errors.isdecimal() else 0)
        except ValueError as error:
            raise DataError(f"nvidia-smi says {line!r}, which isn't {QUERY!r}") from error


def check_gpus(wanted: int, query: str | None = None) -> list[Finding]:
    """Whether nvidia-smi shows `wanted` GPUs that work and that nobody else uses. `query`: what it said, for tests."""
    try:
        gpus = [GPU.from_line(line) for line in (_nvidia_smi() if query is None else query).splitlines() if line]
    except (OSError, subprocess.SubprocessError, DataError) as error:
        advice = "the driver doesn't answer on this host: exclude it (sbatch --exclude) and tell your administrators"
        return [Finding("GPUs", "failed", f"nvidia-smi: {error}", advice)]
    if len(gpus) < wanted:
        advice = "ask for a GPU a task (--gpus-per-node = --ntasks-per-node), or exclude this host: one may have failed"
        return [Finding("GPUs", "failed", f"{len(gpus)}, but {wanted} tasks run here", advice)]
    return [_driver(gpus), _health(gpus)]


def _nvidia_smi() -> str:
    command = ["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader,nounits"]
    return subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout


def _driver(gpus: list[GPU]) -> Finding:
    driver = gpus[0].driver
    if int(driver.partition(".")[0] or 0) < OLDEST_DRIVER:
        advice = f"images with CUDA 12 or 13 need {OLDEST_DRIVER} or newer: ask your administrators"
        return Finding("driver", "failed", driver, advice)
    return Finding("driver", "ok", driver)


def _health(gpus: list[GPU]) -> Finding:
    kinds = " and ".join(sorted({gpu.name for gpu in gpus}))
    if broken := [number for number, gpu in enumerate(gpus) if gpu.uncorrected]:
        advice = "exclude this host (sbatch --exclude) until its GPUs were reset or replaced"
        return Finding("GPUs", "failed", f"uncorrected memory errors on number {broken}", advice)
    if busy := [number for number, gpu in enumerate(gpus) if gpu.used_mib > BUSY_MIB]:
        used = ", ".join(f"{gpus[number].used_mib:,} MiB" for number in busy)
        advice = "somebody else's processes, or some left over from a job before, hold it: exclude this host"
        return Finding("GPUs", "failed", f"number {busy} in use ({used})", advice)
    return Finding("GPUs", "ok", f"{len(gpus)} x {kinds}")


def gpus_of_job(environment: Mapping[str, str] = os.environ) -> int:
    """How many GPUs the tasks of this host need: one each; 0 outside of Slurm, where nobody says."""
    return int(environment.get("SLURM_STEP_TASKS_PER_NODE", "0").partition("(")[0].partition(",")[0])


def check_space(folder: Path, needed_gib: float) -> Finding:
    """Whether `folder` has room."""
    free = shutil.disk_usage(folder).free / GIB
    if free < needed_gib:
        advice = f"make room, choose another folder, or ask for less (--free-gib, now {needed_gib:g})"
        return Finding("free space", "failed", f"{free:,.1f} GiB in {folder}", advice)
    return Finding("free space", "ok", f"{free:,.1f} GiB in {folder}")
