"""Every layout of ranks trains the same: fed the same rollouts, the same losses."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.runs import SCRIPTED, finish, records, settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

LAYOUTS = {
    "tensor_parallel_2": (2, ["megatron.tensor_parallel_size=2"]),
    "pipeline_parallel_2": (2, ["megatron.pipeline_parallel_size=2"]),
    "data_parallel_2": (2, []),
}


def test_the_same_rollouts_give_the_same_losses_in_every_layout(model: Path, problems: Path, tmp_path: Path) -> None:
    finish(settings(model, problems, tmp_path / "one", *SCRIPTED, steps=3), tmp_path / "logs_one")
    expected = records(tmp_path / "one")
    assert any(abs(record["policy/total_loss"]) > 1e-3 for record in expected)
    for name, (ranks, layout) in LAYOUTS.items():
        run_dir = tmp_path / name
        finish(settings(model, problems, run_dir, *SCRIPTED, *layout, steps=3), tmp_path / f"logs_{name}", ranks=ranks)
        for found, wanted in zip(records(run_dir), expected, strict=True):
            for key, value in wanted.items():
                if isinstance(value, str):
                    assert found[key] == value
                else:
                    assert found[key] == pytest.approx(value, abs=1e-4, rel=1e-4), f"{name}: {key}"


def test_saved_in_one_layout_a_run_goes_on_in_another(model: Path, problems: Path, tmp_path: Path) -> None:
    """TP2 x PP2 for three steps, then one process for three, and back: the losses are those of one process."""
    finish(settings(model, problems, tmp_path / "one", *SCRIPTED, steps=6), tmp_path / "logs_one")
    split = ["megatron.tensor_parallel_size=2", "megatron.pipeline_parallel_size=2"]
    run_dir = tmp_path / "moved"
    for number, (steps, ranks, layout) in enumerate([(2, 4, split), (4, 1, []), (6, 4, split)]):
        arguments = settings(model, problems, run_dir, *SCRIPTED, *layout, steps=steps)
        finish(arguments, tmp_path / f"logs_{number}", ranks=ranks)
    for found, wanted in zip(records(run_dir), records(tmp_path / "one"), strict=True):
        for key in ("policy/total_loss", "policy/entropy", "kl/reference", "optimizer/grad_norm"):
            assert found[key] == pytest.approx(wanted[key], abs=1e-4, rel=1e-4), f"step {wanted['step']}: {key}"
