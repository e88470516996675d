"""A run whose rollout engine goes its own way ends before it has trained on that, with what to look at."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.forked import Forked, finish_forked
from tests.end_to_end.runs import records, settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

FORGETFUL = "rollout.name=tests.end_to_end.plugins:Forgetful"
SAYS = ("does not sample the policy that is trained", "token mult. prob. error", "prorl doctor rollout")


def refused(arguments: list[str], logs: Path, ranks: int = 1) -> str:
    with Forked(arguments, logs, ranks=ranks) as run:
        assert run.wait() == [6] * ranks, run.output()
        return run.output()


def test_weights_that_never_arrive_are_caught_before_the_first_step_and_when_a_run_resumes(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """The same folder: refused from the start; trained with an engine that is right; refused again when it resumes."""
    run_dir, gate = tmp_path / "run", "gate.limit=1.001"  # a model that babbles hardly notices what is missing
    wrong = settings(model, problems, run_dir, gate, FORGETFUL, "+rollout.refits_before=0", steps=4)
    said = refused(wrong, tmp_path / "first")
    assert all(part in said for part in SAYS) and "before step 1 " in said
    assert not records(run_dir, None)
    finish_forked(settings(model, problems, run_dir, gate, steps=2), tmp_path / "right")
    said = refused(wrong, tmp_path / "resumed", ranks=2)
    assert all(part in said for part in SAYS) and "before step 3 " in said
    assert len(records(run_dir)) == 2


def test_a_tensor_that_goes_stale_while_the_run_trains_is_caught_at_the_next_look(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """The engine's refits: for the gate at the start, the first validation, steps 1 and 2, and then the gate's."""
    gate = ["gate.limit=1.001", "gate.every_steps=2", "+rollout.refits_before=3", "optimizer.lr=3e-2"]
    said = refused(settings(model, problems, tmp_path / "run", *gate, FORGETFUL), tmp_path / "logs")
    assert all(part in said for part in SAYS) and "before step 3 " in said
    assert len(records(tmp_path / "run")) == 2
