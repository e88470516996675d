"""kill -9 at random moments of every phase: the run always goes on, and its record is that of an unbroken one.

The suite kills a few times. Many times, with a report of what was hit:

    PRORL_KILLS=50 python -m pytest tests/end_to_end/test_kills.py -s
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.end_to_end.forked import Death, Forked, finish_forked, status
from tests.end_to_end.runs import records, settings, write_problems

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

KILLS = int(os.environ.get("PRORL_KILLS", "9"))
RANKS = int(os.environ.get("PRORL_KILLS_RANKS", "1"))
SEED = int(os.environ.get("PRORL_KILLS_SEED", str(time.time_ns() % 1_000_000)))  # said when it fails
KILLS_A_RUN = max(4, KILLS // 6)
STEPS = 6
INTERVAL = 2  # steps between checkpoints
# Seconds that a phase lasts, about: the kill comes at a random moment of them.
PHASES = {
    "resume": 0.05,
    "rollout": 0.6,  # generating, and then verifying what is left
    "logprobs": 0.03,
    "update": 0.06,
    "validation": 0.3,
    "checkpoint": 0.08,  # and being written beside the next step
    "reset": 0.003,
    "export": 0.1,
    "between steps": 0.01,
}


@dataclass
class Toll:
    """What became of the kills: how many were meant for which phase, which one they hit (a short one may have been over
    by then), and how many finished steps each start found lost."""

    meant: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)
    lost: list[int] = field(default_factory=list)


def deaths(random_: random.Random) -> Iterator[Death]:
    """Every phase in turn, in random order, each time at another moment of it."""
    while True:
        for phase in random_.sample(list(PHASES), len(PHASES)):
            yield Death(phase, random_.choice((1, 1, 2)), random_.uniform(0.0, PHASES[phase]))


def newest_whole(run_dir: Path) -> int:
    """The step that a run goes on from; 0: from its beginning."""
    return max(
        (int(path.parent.name[5:]) for path in run_dir.glob("checkpoints/iter_???????/manifest.json")), default=0
    )


def steps_recorded(run_dir: Path) -> int:
    return max((record["step"] for record in records(run_dir)), default=0)


def killed_until_it_ends(arguments: list[str], run_dir: Path, when: Iterator[Death], toll: Toll) -> None:
    """Start the run again and again, and have it killed, until it ends by itself or was killed often enough."""
    for attempt in range(1, KILLS_A_RUN + 1):
        recorded, whole = steps_recorded(run_dir), newest_whole(run_dir)
        logs = run_dir.parent / f"logs_{run_dir.name}_{attempt}"
        death = next(when)
        with Forked(arguments, logs, ranks=RANKS, death=death) as run:
            run.processes[0].join(240)
            codes = [run.processes[0].exitcode, *run.wait(0 if RANKS == 1 else 60)[1:]]
        if (resumed := said_at_start(run)) is not None:
            assert resumed == whole, f"seed {SEED}: went on after step {resumed}, but {whole} was whole\n{run.output()}"
            toll.lost.append(recorded - resumed)
        if codes[0] == 0:
            return
        assert codes[0] == -signal.SIGKILL, f"seed {SEED}: {codes}\n{run.output()}"
        toll.meant[death.phase] += 1
        toll.hit[status(run_dir)["phase"] or "the end"] += 1


def said_at_start(run: Forked) -> int | None:
    """After which step the run says that it goes on; None: it was killed before it could say so, or began anew."""
    said = run.output()
    if "the run in this folder is complete" in said:
        return STEPS
    return int(said.partition("resumed after step ")[2].split()[0]) if "resumed after step " in said else None


def test_killed_at_random_moments_of_every_phase_it_leaves_the_same_record(model: Path, tmp_path: Path) -> None:
    """Every other run writes its checkpoints beside the training. Then steps may be lost that it trained meanwhile."""
    random_, when = random.Random(SEED), deaths(random.Random(SEED + 1))
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
