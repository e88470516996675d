"""Stages in order, and where a step lies among them."""

from __future__ import annotations

import pytest

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import ConfigError
from nemo_prorl.recipe import Recipe, Stage


def stage(name: str, steps: int, **more: int) -> Stage:
    sizes = {"prompts_per_step": 4, "prompts_per_update": 2, **more}
    return Stage(name=name, steps=steps, sampling=SamplingParams(2, 8, 32), kl_weight=0.0, **sizes)


def test_a_step_lies_in_the_stage_whose_steps_it_falls_into():
    """Stages of 3 and 2 steps: steps 0, 1, 2 are the first's, 3 and 4 the second's."""
    recipe = Recipe((stage("first", 3), stage("second", 2)))
    found = [(recipe.stage_at(step)[0].name, recipe.stage_at(step)[1]) for step in range(recipe.steps)]
    assert found == [("first", 0), ("first", 1), ("first", 2), ("second", 0), ("second", 1)]


def test_a_step_after_the_last_is_an_error():
    with pytest.raises(ConfigError, match="last step 2"):
        Recipe((stage("only", 3),)).stage_at(3)


def test_updates_must_be_of_equal_size():
    assert stage("even", 1).updates_per_step == 2
    with pytest.raises(ConfigError, match="prompts_per_update=3"):
        stage("odd", 1, prompts_per_update=3)


def test_a_recipe_needs_a_stage():
    with pytest.raises(ConfigError, match="at least one stage"):
        Recipe(())
