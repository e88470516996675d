"""From `sbatch` to the exported model, on a real Slurm: stopped before the limit, requeued, resumed, finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.jobs import Job, same_record, tiny
from tests.cluster.local_slurm import LocalSlurm

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]


def test_asked_to_stop_before_its_limit_it_is_requeued_and_ends_as_if_nothing_had_been(
    slurm: LocalSlurm, model: Path, problems: Path, unbroken: Path, tmp_path: Path
) -> None:
    job = Job(slurm, tiny(model, problems, tmp_path / "run", "megatron.tensor_parallel_size=2"), tmp_path)
    job.until_step(2)
    assert sorted(slurm.processes(job.number)) == [0, 1, 2, 3]
    slurm.run("scancel", "--batch", "--signal=USR1", job.number)
    job.until_attempt_ends(0)
    assert "stopped and saved after step" in (job.verdict(0) or "")

    assert job.wait() == "COMPLETED", job.everything()
    assert job.slurm.job(job.number)["Restarts"] == "1"
    assert job.verdict(1) == "done"
    assert same_record(job.run_dir, unbroken)
    assert (job.run_dir / "export" / "model.safetensors").is_file()
    logs = tmp_path / "logs" / f"prorl-train-{job.number}"
    assert sorted(str(path.relative_to(logs)) for path in logs.rglob("rank_*.log")) == [
        f"attempt_{attempt}/rank_{rank}.log" for attempt in (0, 1) for rank in range(4)
    ]
    assert "resumed after step" in (logs / "attempt_1" / "rank_0.log").read_text()
    assert not (job.run_dir / "STOP").exists()
