"""kill -9 at random moments of every phase: the run always goes on, and its record is that of an unbroken one.

The suite kills a few times. Many times, with a report of what was hit:

    PRORL_KILLS=50 python -m pytest tests/end_to_end/test_kills.py -s
"""

from __future__ import annotations

import json
import os
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.end_to_end.forked import Forked, finish_forked, in_phase, status
from tests.end_to_end.runs import records, settings, write_problems

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

KILLS = int(os.environ.get("PRORL_KILLS", "9"))
RANKS = int(os.environ.get("PRORL_KILLS_RANKS", "1"))
SEED = int(os.environ.get("PRORL_KILLS_SEED", str(time.time_ns() % 1_000_000)))  # said when it fails
KILLS_A_RUN = max(4, KILLS // 6)
STEPS = 6
INTERVAL = 2  # steps between checkpoints
# Seconds that a phase lasts, about: the kill comes at a random moment of them. "saving": files are being written.
PHASES = {
    "resume": 0.05,
    "rollout": 0.6,  # generating and verifying
    "logprobs": 0.02,
    "update": 0.05,
    "validation": 0.3,
    "checkpoint": 0.02,
    "saving": 0.03,
    "reset": 0.002,
    "export": 0.05,
    "between steps": 0.01,
}


@dataclass
class Toll:
    """What became of the kills: how many hit which phase, and how many finished steps each of them cost."""

    hit: Counter[str] = field(default_factory=Counter)
    lost: list[int] = field(default_factory=list)


def moments(random_: random.Random) -> Iterator[tuple[str, float]]:
    """Every phase in turn, in random order, each time at another moment of it."""
    while True:
        for phase in random_.sample(list(PHASES), len(PHASES)):
            yield phase, random_.uniform(0.0, PHASES[phase])


def has_come(run_dir: Path, phase: str, attempt: int) -> Callable[[], bool]:
    if phase != "saving":
        return in_phase(run_dir, phase, attempt=attempt)
    live = is_under_way(run_dir, attempt)
    return lambda: live() and any((run_dir / "checkpoints").glob("*.partial/*"))


def is_under_way(run_dir: Path, attempt: int) -> Callable[[], bool]:
    return lambda: status(run_dir)["attempt"] >= attempt and status(run_dir)["step"] is not None


def newest_whole(run_dir: Path) -> int:
    """The step that a run goes on from; 0: from its beginning."""
    return max(
        (int(path.parent.name[5:]) for path in run_dir.glob("checkpoints/iter_???????/manifest.json")), default=0
    )


def steps_recorded(run_dir: Path) -> int:
    return max((record["step"] for record in records(run_dir)), default=0)


def killed_until_it_ends(arguments: list[str], run_dir: Path, when: Iterator[tuple[str, float]], toll: Toll) -> None:
    """Start the run again and again, killing it each time, until it ends by itself or was killed often enough."""
    for attempt in range(1, KILLS_A_RUN + 1):
        (phase, delay), recorded, whole = next(when), steps_recorded(run_dir), newest_whole(run_dir)
        with Forked(arguments, run_dir.parent / f"logs_{run_dir.name}_{attempt}", ranks=RANKS) as run:
            if run.until(is_under_way(run_dir, attempt)):
                resumed = said_at_start(run)
                assert resumed == whole, f"resumed after step {resumed}, but {whole} was whole\n{run.output()}"
                toll.lost.append(recorded - resumed)
            if not run.until(has_come(run_dir, phase, attempt)):
                assert run.wait() == [0] * RANKS, run.output()
                return
            time.sleep(delay)
            if run.has_ended:
                assert run.wait() == [0] * RANKS, run.output()
                return
            run.kill()
        toll.hit[status(run_dir)["phase"] or "the end"] += 1


def said_at_start(run: Forked) -> int:
    """After which step the run says that it goes on."""
    if "the run in this folder is complete" in run.output():
        return STEPS
    said = run.output().partition("resumed after step ")[2].split()
    return int(said[0]) if said else 0


def test_killed_at_random_moments_of_every_phase_it_leaves_the_same_record(model: Path, tmp_path: Path) -> None:
    """Every other run writes its checkpoints beside the training. Then steps may be lost that it trained meanwhile."""
    random_, when = random.Random(SEED), moments(random.Random(SEED + 1))
    problems = write_problems(tmp_path / "problems.jsonl", "PonderedVowelShare")
    common = [
        "rollout.name=tests.end_to_end.plugins:Unhurried",
        f"checkpoint.every_steps={INTERVAL}",
        "checkpoint.keep_at_resets=true",
    ]
    finish_forked(
        settings(model, problems, tmp_path / "unbroken", *common, steps=STEPS), tmp_path / "logs", ranks=RANKS
    )
    beside, waiting, number = Toll(), Toll(), random_.randrange(2)
    while sum(beside.hit.values()) + sum(waiting.hit.values()) < KILLS:
        is_beside, run_dir = number % 2 == 0, tmp_path / f"run_{number}"
        toll = beside if is_beside else waiting
        arguments = settings(
            model, problems, run_dir, *common, f"checkpoint.asynchronous={str(is_beside).lower()}", steps=STEPS
        )
        killed_until_it_ends(arguments, run_dir, when, toll)
        finish_forked(arguments, tmp_path / f"logs_{number}", ranks=RANKS)
        for file in ("metrics.jsonl", "samples.jsonl"):
            assert records(run_dir, None, file) == records(tmp_path / "unbroken", None, file), f"seed {SEED}, {run_dir}"
        number += 1
    assert max(waiting.lost, default=0) <= INTERVAL, f"seed {SEED}"
    assert max(beside.lost, default=0) <= 2 * INTERVAL, f"seed {SEED}"
    print(json.dumps({"seed": SEED, "ranks": RANKS, "runs": number, "beside": vars(beside), "waiting": vars(waiting)}))
