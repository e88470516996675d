"""A run that is killed and started again gives the metrics of one that never was, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.runs import finish, kill_after, records, settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]


@pytest.mark.parametrize("ranks", [1, 2], ids=["one_process", "tensor_parallel_2"])
def test_killed_at_any_step_and_resumed_it_gives_the_same_metrics(
    ranks: int, model: Path, problems: Path, tmp_path: Path
) -> None:
    """Steps draw 4 of 5 problems, so epochs end inside steps; a reset lies at step 3, between the two kills."""
    layout = [f"megatron.tensor_parallel_size={ranks}"]
    unbroken = tmp_path / "unbroken"
    finish(settings(model, problems, unbroken, *layout), tmp_path / "logs_unbroken", ranks=ranks)

    broken = tmp_path / "broken"
    arguments = settings(model, problems, broken, *layout)
    kill_after(arguments, tmp_path / "logs_1", broken, step=2, ranks=ranks)
    kill_after(arguments, tmp_path / "logs_2", broken, step=4, ranks=ranks)
    finish(arguments, tmp_path / "logs_3", ranks=ranks)

    assert [record["step"] for record in records(unbroken)] == [1, 2, 3, 4, 5, 6]
    assert records(broken) == records(unbroken)
    assert [record["step"] for record in records(broken, "reset")] == [3]
    assert records(broken, "reset") == records(unbroken, "reset")
    moved = {record["policy/entropy"] for record in records(unbroken)}
    assert len(moved) == 6, "the policy did not move, so the comparison would prove nothing"
