"""What must hold in every step, read from a run's own metrics at temperature 1.2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.runs import finish, records, settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

LAYOUTS = {"one_process": (1, []), "tensor_parallel_2": (2, ["megatron.tensor_parallel_size=2"])}
LAYOUTS["pipeline_parallel_2"] = (2, ["megatron.pipeline_parallel_size=2"])
LAYOUTS["bf16_tensor_parallel_2"] = (2, ["megatron.tensor_parallel_size=2", "megatron.precision=bf16"])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_steps_first_update_is_on_policy(layout: str, model: Path, problems: Path, tmp_path: Path) -> None:
    """Of two updates in a step the first has ratio 1, exactly, and the second has not.

    Ratio 1 holds at any temperature, if it is the same everywhere; so the logprobs are also compared with those that
    the sampler reports, which it can only have taken at the temperature of its sampling. (It computes in fp32.)
    """
    ranks, more = LAYOUTS[layout]
    rounding = 0.05 if "bf16" in layout else 1e-4
    finish(settings(model, problems, tmp_path / "run", *more, steps=3), tmp_path / "logs", ranks=ranks)
    for record in records(tmp_path / "run"):
        assert record["policy/approximate_kl_first_update"] == 0
        assert record["policy/ratio_max_first_update"] == record["policy/ratio_min_first_update"] == 1
        assert record["policy/ratio_max"] > 1.001
        assert record["policy/sampler_logprob_difference_max"] <= rounding


def test_a_reset_makes_the_kl_zero(model: Path, problems: Path, tmp_path: Path) -> None:
    """With one update a step, the KL that a step reports is that before its update."""
    one_update = "recipe.stages.quickstart.prompts_per_update=4"
    finish(settings(model, problems, tmp_path / "run", one_update), tmp_path / "logs")
    # The reference is the policy at step 1, and again right after the reset at step 3; in between it is behind.
    assert [record["kl/reference"] == 0 for record in records(tmp_path / "run")] == [True, False, False] * 2
