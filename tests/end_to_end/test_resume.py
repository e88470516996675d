"""A run that is killed and started again gives the record of one that never was, bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.runs import finish, has_done, is_saving, kill_when, records, settings, start

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]


@pytest.mark.parametrize("ranks", [1, 2], ids=["one_process", "tensor_parallel_2"])
def test_killed_anywhere_and_resumed_it_leaves_the_same_record(
    ranks: int, model: Path, problems: Path, tmp_path: Path
) -> None:
    """Killed before the first checkpoint, inside the saving of the second, and after a step that no checkpoint holds.

    Steps draw 4 of 5 problems, so epochs end inside steps; a reset lies at step 3, validations at 0, 2, 4 and 6.
    """
    layout = [f"megatron.tensor_parallel_size={ranks}"]
    unbroken = tmp_path / "unbroken"
    finish(settings(model, problems, unbroken, *layout), tmp_path / "logs_unbroken", ranks=ranks)

    broken = tmp_path / "broken"
    arguments = settings(model, problems, broken, *layout)
    for number, moment in enumerate([has_done(broken, 1), is_saving(broken, 4), has_done(broken, 5)]):
        kill_when(arguments, tmp_path / f"logs_{number}", moment, ranks=ranks)
    finish(arguments, tmp_path / "logs_last", ranks=ranks)

    assert [record["step"] for record in records(unbroken)] == [1, 2, 3, 4, 5, 6]
    assert [record["step"] for record in records(unbroken, "validation")] == [0, 2, 4, 6]
    assert [record["step"] for record in records(unbroken, "reset")] == [3]
    assert records(broken, None) == records(unbroken, None)
    assert records(broken, None, "samples.jsonl") == records(unbroken, None, "samples.jsonl")
    moved = {record["policy/entropy"] for record in records(unbroken)}
    assert len(moved) == 6, "the policy did not move, so the comparison would prove nothing"


def test_a_folder_with_the_run_of_another_model_or_a_longer_recipe_is_not_taken_for_this_one(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    from tests.end_to_end.conftest import make_babbler

    run_dir = tmp_path / "run"
    finish(settings(model, problems, run_dir, steps=2), tmp_path / "logs")
    before = records(run_dir, None)
    other = make_babbler(tmp_path / "other", seed=4)
    for name, arguments, said in (
        ("other", settings(other, problems, run_dir, steps=4), "started from another model"),
        ("shorter", settings(model, problems, run_dir, steps=1), "more than the 1 of this recipe"),
    ):
        with start(arguments, tmp_path / f"logs_{name}") as command:
            assert command.wait() == [5]
            assert said in command.output()
    assert records(run_dir, None) == before


def test_a_run_whose_checkpoints_are_all_broken_does_not_start_over(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    run_dir = tmp_path / "run"
    arguments = settings(model, problems, run_dir, steps=2)
    finish(arguments, tmp_path / "logs")
    before = records(run_dir, None)
    for manifest in (run_dir / "checkpoints").glob("iter_*/manifest.json"):
        manifest.unlink()
    with start(arguments, tmp_path / "logs_again") as command:
        assert command.wait() == [5]
        assert "iter_0000002" in command.output()
    assert records(run_dir, None) == before
