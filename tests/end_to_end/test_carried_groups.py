"""Groups that wait for the next step are part of a checkpoint: a run that is killed trains on the very same ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.forked import Forked, finish_forked, in_phase
from tests.end_to_end.runs import records, settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

CARRIED = ["sampling.surplus=carry", "sampling.oversample=1.5", "loss.sampler_correction.name=token_tis"]


def test_a_killed_run_trains_on_the_groups_that_waited(model: Path, problems: Path, tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    finish_forked(settings(model, problems, whole, *CARRIED), tmp_path / "logs_whole", ranks=2)
    arguments = settings(model, problems, broken, *CARRIED)
    with Forked(arguments, tmp_path / "logs_broken", ranks=2) as run:
        assert run.until(in_phase(broken, "rollout", step=4)), run.output()
        run.kill()
    finish_forked(arguments, tmp_path / "logs_resumed", ranks=2)
    for file in ("metrics.jsonl", "samples.jsonl"):
        assert records(broken, None, file) == records(whole, None, file), file
    steps = records(whole)
    assert [step["rollout/carried_groups"] > 0 for step in steps] == [False] + [True] * 5
    assert all(step["policy/stale_kl"] > 1e-6 for step in steps[1:])  # they are of another policy by now
    assert all(step["policy/sampler_multiplicative_error"] < 1.001 for step in steps)  # and don't hide a sick sampler
