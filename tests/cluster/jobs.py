"""A training of the tiny recipe as a job: 2 nodes x 2 tasks, tensor x data parallel."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tests.cluster.local_slurm import LocalSlurm
from tests.end_to_end.forked import finish_forked, status
from tests.end_to_end.runs import ROOT, records, with_recipe
from tests.processes import free_port

RANKS = 4
SHAPE = ("--nodes=2", "--ntasks-per-node=2", "--gpus-per-node=2", "--cpus-per-task=1")
ONE_TASK = ("--nodes=1", "--ntasks-per-node=1", "--gpus-per-node=1", "--cpus-per-task=1")
LIMIT_SECONDS = 600.0  # of any wait: a busy machine starts four ranks in minutes


def tiny(model: Path, problems: Path, run_dir: Path, *more: str) -> list[str]:
    """The settings: six steps in two stages, a reset, a checkpoint each step, an export."""
    common = [setting for setting in with_recipe("tiny", model, problems, run_dir)[1:] if "exam" not in setting]
    of_recipe = ["~data.sources.logic", "~data.held_out.logic_held_out"]
    return [*common, *of_recipe, "rollout.name=tests.end_to_end.plugins:Unhurried", *more]


def unbroken_run(model: Path, problems: Path, folder: Path, *more: str, ranks: int = RANKS) -> Path:
    """The folder of a run that nothing has befallen."""
    finish_forked(["train", *tiny(model, problems, folder / "run", *more)], folder / "logs", ranks=ranks)
    return folder / "run"


class Job:
    """`sbatch slurm/train.sbatch`, and what becomes of it. Everything it writes lies in `folder`."""

    def __init__(
        self,
        slurm: LocalSlurm,
        arguments: list[str],
        folder: Path,
        *,
        options: tuple[str, ...] = SHAPE,
        script: str = "train.sbatch",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.slurm, self.folder, self.run_dir = slurm, folder, folder / "run"
        exported = job_environment() | dict(environment or {})
        path = ROOT / "slurm" / script
        self.number = slurm.submit(path, *arguments, options=options, folder=folder, environment=exported)

    def output(self) -> str:
        """What the batch script has said."""
        return "".join(path.read_text(errors="replace") for path in self.folder.glob(f"*-{self.number}.out"))

    def everything(self) -> str:
        """What batch script and tasks have said: for the message of a test that fails."""
        logs = sorted((self.folder / "logs").rglob("rank_*.log"))
        told = [f"--- {path}\n{path.read_text(errors='replace')[-3000:]}" for path in logs]
        return "\n".join([self.output(), *told])

    def until(self, has_come: Callable[[], bool], timeout_seconds: float = LIMIT_SECONDS) -> float:
        """Seconds until it came; fails when the job has ended before."""
        began = time.monotonic()
        while not has_come():
            over = self.slurm.job(self.number)["JobState"] in ("COMPLETED", "FAILED", "TIMEOUT", "CANCELLED")
            assert not over or has_come(), f"the job has ended\n{self.everything()}"
            assert time.monotonic() - began < timeout_seconds, f"not in {timeout_seconds} s\n{self.everything()}"
            time.sleep(0.1)
        return time.monotonic() - began

    def until_step(self, step: int) -> None:
        """Until the attempt that runs now has done `step` steps and is in the midst of the next."""

        def has_come() -> bool:
            now = self.status()
            return (now["step"] or 0) >= step and now["phase"] == "rollout" and self._lives(now["attempt"])

        self.until(has_come)

    def _lives(self, attempt: int) -> bool:
        """Whether an attempt's main rank is one of the tasks that run now."""
        path = self.run_dir / "attempts" / f"{attempt:04d}" / "process.json"
        pid = json.loads(path.read_text())["pid"] if path.exists() else None
        return pid in self.slurm.processes(self.number).values()

    def until_attempt_ends(self, number: int) -> float:
        """Until the batch script has given its verdict on its attempt `number`, from 0."""
        return self.until(lambda: f"attempt {number}" in self.output() and self.verdict(number) is not None)

    def verdict(self, number: int) -> str | None:
        """What the batch script says of the end of an attempt: its line after `srun returned`."""
        said = re.findall(rf"^\[job \d+ attempt {number} [^]]*\] (.*)$", self.output(), re.MULTILINE)
        after = [index for index, line in enumerate(said) if line.startswith("srun returned")]
        return said[after[-1] + 1] if after and len(said) > after[-1] + 1 else None

    def wait(self) -> str:
        """The state in which the job has ended."""
        return self.slurm.wait(self.number, LIMIT_SECONDS)

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """A signal to one task."""
        os.kill(self.slurm.processes(self.number)[rank], number)

    def kill_all(self) -> None:
        """kill -9 of every task at once."""
        for pid in self.slurm.processes(self.number).values():
            os.kill(pid, signal.SIGKILL)

    def phase(self) -> str:
        """What the attempt that runs now does; "import" as long as it has not said so."""
        now = self.status()
        return str(now["phase"] or "import") if self._lives(now["attempt"]) else "import"

    def status(self) -> dict[str, Any]:
        return status(self.run_dir)


def job_environment() -> dict[str, str]:
    """Of a shell that submits: no preflight, short waits, a port that is nobody's."""
    return {
        "PRORL_PYTHON": sys.executable,
        "PRORL_PREFLIGHT": "0",
        "PRORL_BACKOFF_SECONDS": "1",
        "MASTER_PORT": str(free_port()),
        "OMP_NUM_THREADS": "1",
    }


def newest_checkpoint(run_dir: Path) -> Path:
    return max((run_dir / "checkpoints").glob("iter_*/manifest.json")).parent


def tear(checkpoint: Path) -> None:
    """As a host does that goes down while a file is being written: the file is half of itself."""
    file = max(checkpoint.glob("*.distcp"), key=lambda path: path.stat().st_size)
    with file.open("r+b") as opened:
        opened.truncate(file.stat().st_size // 2)


def same_record(run_dir: Path, other: Path) -> bool:
    """Whether every metric of every step is the same, bit for bit."""
    files = ("metrics.jsonl", "samples.jsonl")
    return all(records(run_dir, None, file) == records(other, None, file) for file in files)
