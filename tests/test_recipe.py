"""Stages in order, and where a step lies among them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from nemo_prorl.algorithm.ending import AfterHours
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import CheckpointError, ConfigError
from nemo_prorl.recipe import Recipe, Stage, TrainingState


def stage(name: str, steps: int, **more: Any) -> Stage:
    sizes = {"prompts_per_step": 4, "prompts_per_update": 2, **more}
    return Stage(name=name, steps=steps, sampling=SamplingParams(2, 8, 32), kl_weight=0.0, **sizes)


def at(in_stage: int, **more: object) -> TrainingState:
    return TrainingState(steps_since_reset=0, steps_in_stage=in_stage, **more)  # type: ignore[arg-type]


def test_stages_follow_each_other_by_name():
    recipe = Recipe((stage("first", 3), stage("second", 2)))
    first, second = recipe
    assert recipe.named("second") is second
    assert recipe.after(first) is second
    assert recipe.after(second) is None
    assert recipe.steps == 5


def test_a_stage_that_the_recipe_has_lost_is_named_with_those_it_has():
    with pytest.raises(CheckpointError, match="stage 'gone', which this recipe doesn't have; its stages are only"):
        Recipe((stage("only", 3),)).named("gone")


def test_a_stage_ends_after_its_steps_or_when_a_rule_says_so():
    plain = stage("plain", 3)
    assert [plain.reason_to_end(at(n)) for n in (2, 3)] == [None, "its 3 steps are done"]
    ruled = replace(plain, end_rules=(AfterHours(1),))
    assert ruled.reason_to_end(at(1, seconds_in_stage=3600.0)) == "it has run for 1 hours"


def test_a_stage_that_has_not_begun_is_not_ended_by_a_rule():
    """Its series may begin with a score of the stage before."""
    ruled = replace(stage("ruled", 3), end_rules=(AfterHours(1),))
    assert ruled.reason_to_end(at(0, seconds_in_stage=3600.0)) is None


def test_updates_must_be_of_equal_size():
    assert stage("even", 1).updates_per_step == 2
    with pytest.raises(ConfigError, match="prompts_per_update=3"):
        stage("odd", 1, prompts_per_update=3)


def test_a_recipe_needs_a_stage():
    with pytest.raises(ConfigError, match="at least one stage"):
        Recipe(())
