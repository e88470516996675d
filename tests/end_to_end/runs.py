"""Whole runs of `prorl` in processes of their own, on a model that babbles and a verifier that likes vowels."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.processes import Command

ROOT = Path(__file__).parents[2]
# Answers that no model gives, for comparing updates alone.
SCRIPTED = (
    "rollout=scripted",
    "rollout.answers=[aeiou and more, nothing here, Yes, mmmmmm, an open door, tsk, ooo, plain text]",
)
PROBLEMS = 5  # fewer than two steps draw, so that epochs end within and between steps


def write_problems(path: Path, verifier: str = "VowelShare") -> Path:
    """Problems whose reward differs from answer to answer, so that there is always something to learn.

    Two more, held out, lie beside them in held_out.jsonl.
    """
    write_rows(path.with_name("held_out.jsonl"), range(100, 102), verifier=verifier)
    return write_rows(path, range(PROBLEMS), verifier=verifier)


def write_rows(
    path: Path, numbers: range, *, domain: str = "instruction", task: str = "vowels", verifier: str = "VowelShare"
) -> Path:
    """Problems of these numbers, judged by their vowels, whatever their domain."""
    rows = [
        {
            "problem": f"Say something, number {number}.",
            "answer": "",
            "domain": domain,
            "task": task,
            "verifier": f"tests.end_to_end.plugins:{verifier}",
        }
        for number in numbers
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def settings(model: Path, problems: Path, run_dir: Path, *more: str, steps: int = 6) -> list[str]:
    """`prorl train` with every part of a step in use: KL, resets, two updates, validation, checkpoints."""
    stage = "recipe.stages.quickstart"
    return [
        *with_recipe("quickstart", model, problems, run_dir),
        "~data.sources.practice",
        "validation.every_steps=2",
        f"{stage}.steps={steps}",
        f"{stage}.prompts_per_step=4",
        f"{stage}.prompts_per_update=2",
        f"{stage}.samples_per_prompt=4",
        f"{stage}.max_response_tokens=12",
        f"{stage}.temperature=1.2",
        f"{stage}.kl_weight=0.05",
        f"{stage}.reset.every_steps=3",
        "checkpoint.every_steps=2",
        *more,
    ]


def with_recipe(recipe: str, model: Path, problems: Path, run_dir: Path) -> list[str]:
    """`prorl train` with a recipe, on these problems instead of the quickstart's held-out ones."""
    return [
        "train",
        f"recipe={recipe}",
        f"model.path={model}",
        f"run.dir={run_dir}",
        "~data.held_out.exam",
        "+data.held_out.vowels={name: jsonl, path: '%s'}" % problems.with_name("held_out.jsonl"),  # noqa: UP031
        "+data.sources.vowels={name: jsonl, path: '%s'}" % problems,  # noqa: UP031 (braces are Hydra's)
        "validation.problems_per_task=2",
        "validation.samples_per_prompt=2",
        "optimizer.lr=1e-3",
        "telemetry.tensorboard=false",
        "verifiers.workers=1",
    ]


def start(arguments: list[str], logs: Path, *, ranks: int = 1, environment: dict[str, str] | None = None) -> Command:
    """`prorl` as torchrun would start it; log files go to `logs`."""
    logs.mkdir(parents=True, exist_ok=True)
    return Command(ranks, ["-m", "nemo_prorl", *arguments], logs=logs, environment=environment, folder=ROOT)


def finish(arguments: list[str], logs: Path, *, ranks: int = 1) -> None:
    """Run to the end, or fail the test with what the ranks wrote."""
    with start(arguments, logs, ranks=ranks) as command:
        codes = command.wait()
        if any(codes):
            raise AssertionError(f"exit codes {codes}\n" + "\n".join(command.output(rank) for rank in range(ranks)))


def kill_when(
    arguments: list[str], logs: Path, has_come: Callable[[], bool], *, ranks: int = 1, signal_after: float = 0.0
) -> None:
    """kill -9 every rank as soon as `has_come()`, or so many seconds after."""
    with start(arguments, logs, ranks=ranks) as command:
        while not has_come():
            if any(process.poll() is not None for process in command.processes):
                raise AssertionError(f"ended before it could be killed\n{command.output()}")
            time.sleep(0.002)
        time.sleep(signal_after)
        command.kill()


def has_done(run_dir: Path, step: int) -> Callable[[], bool]:
    """Whether `step` steps are recorded."""
    return lambda: any(record["step"] >= step for record in records(run_dir))


def is_saving(run_dir: Path, step: int) -> Callable[[], bool]:
    """Whether the checkpoint of `step` is being written."""
    return lambda: (run_dir / "checkpoints" / f"iter_{step:07d}.partial").exists()


def records(run_dir: Path, kind: str | None = "train", file: str = "metrics.jsonl") -> list[dict[str, Any]]:
    """The run's records of one kind, or all, without what the clock says."""
    path = run_dir / file
    lines = path.read_text().splitlines(keepends=True) if path.exists() else []
    parsed = [json.loads(line) for line in lines if line.endswith("\n")]
    return [
        {key: value for key, value in record.items() if not key.startswith("time/")}
        for record in parsed
        if kind is None or record["kind"] == kind
    ]
