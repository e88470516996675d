"""What must hold in every step, read from a run's own metrics at temperature 1.2."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.runs import finish, records, settings

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]


def test_the_first_update_is_on_policy_and_a_reset_makes_the_kl_zero(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    one_update = "recipe.stages.quickstart.prompts_per_update=4"
    finish(settings(model, problems, tmp_path / "run", one_update), tmp_path / "logs")
    steps = records(tmp_path / "run")
    for record in steps:
        assert record["policy/approximate_kl_first_update"] <= 1e-4
        assert record["policy/ratio_max_first_update"] == pytest.approx(1, abs=1e-4)
        assert record["policy/ratio_min_first_update"] == pytest.approx(1, abs=1e-4)
    # The reference is the policy at step 1, and again right after the reset at step 3; in between it is behind.
    assert [record["kl/reference"] == 0 for record in steps] == [True, False, False, True, False, False]
