"""Whole runs through the TensorRT-LLM engine on the contract double of the library, the trainer cut over two ranks."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.forked import Death, Forked, finish_forked
from tests.end_to_end.runs import records, settings
from tests.rollout.trtllm_double import environment_of_double

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

# Slurm's variables as srun sets them: the library must not see them, the run must.
ENVIRONMENT = {**environment_of_double(), "SLURM_JOB_END_TIME": "4000000000", "PMIX_RANK": "0"}
ENGINE = ("rollout=tensorrt_llm", "rollout.dtype=fp32", "rollout.max_sequence_tokens=256", "gate.every_steps=2")
CORRECTED = "loss.sampler_correction={name: token_tis}"
# More is asked for than is missing, little of it at once: what is under way when a step has its groups is taken back.
ABORTING = ("sampling.oversample=2", "rollout.max_batch_sequences=2")


def arguments(model: Path, problems: Path, run_dir: Path) -> list[str]:
    return settings(model, problems, run_dir, *ENGINE, CORRECTED, *ABORTING, "megatron.tensor_parallel_size=2", steps=4)


def figures(run_dir: Path) -> list[dict[str, Any]]:
    """Of every record, to the sampler's rounding: its batches are as requests happen to arrive."""
    return [
        {
            name: pytest.approx(value, rel=1e-3, abs=1e-4) if isinstance(value, float) else value
            for name, value in record.items()
        }
        for record in records(run_dir, None)
    ]


@pytest.fixture(scope="module")
def unbroken(model: Path, problems: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    finish_forked(arguments(model, problems, folder / "run"), folder / "logs", ranks=2, environment=ENVIRONMENT)
    return folder / "run"


def test_a_whole_recipe_runs_and_the_engine_stays_the_trainers_policy(unbroken: Path) -> None:
    steps = records(unbroken)
    assert [record["step"] for record in steps] == [1, 2, 3, 4]
    assert all(record["policy/sampler_multiplicative_error"] < 1.0001 for record in steps)
    assert all(record["policy/correction_weight"] == pytest.approx(1, abs=1e-3) for record in steps)
    with (unbroken / "metrics.jsonl").open() as lines:
        told = [json.loads(line) for line in lines]
    # Taken back, or, where the engine is quicker than the news, finished and not needed.
    ways = ("time/aborted_completions", "time/unused_completions")
    assert sum(record.get(way, 0) for record in told for way in ways) > 0
    assert any("rollout/gate_multiplicative_error" in record for record in steps)
    assert len(records(unbroken, "validation")) >= 2
    assert (unbroken / "export" / "config.json").is_file()


def test_a_run_that_is_killed_in_a_rollout_goes_on_as_if_it_had_not_been(
    unbroken: Path, model: Path, problems: Path, tmp_path: Path
) -> None:
    """kill -9 while the library generates: its samples come again by their seeds."""
    run_dir = tmp_path / "run"
    death = Death("rollout", 3, 0.1)
    with Forked(
        arguments(model, problems, run_dir), tmp_path / "first", ranks=2, environment=ENVIRONMENT, death=death
    ) as run:
        run.until(lambda: run.has_ended)
        assert run.processes[0].exitcode == -signal.SIGKILL, run.output()
    assert len(records(run_dir)) == 2
    finish_forked(arguments(model, problems, run_dir), tmp_path / "second", ranks=2, environment=ENVIRONMENT)
    assert records(run_dir, None) == figures(unbroken)
