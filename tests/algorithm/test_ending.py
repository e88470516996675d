"""Why a stage is over."""

import pytest

from nemo_prorl.algorithm.ending import AfterHours, WhenResponsesJump, WhenValidationDrops, WhenValidationStalls
from nemo_prorl.algorithm.plateau import Drop, Plateau
from nemo_prorl.errors import ConfigError
from nemo_prorl.recipe import Rule, TrainingState


def state(**more):
    return TrainingState(steps_since_reset=0, steps_in_stage=1, **more)


def test_a_stage_looks_at_its_own_validations_not_at_those_since_the_reset():
    stalls: Rule = WhenValidationStalls(Plateau(patience=2))
    drops: Rule = WhenValidationDrops(Drop(0.1))
    fallen = (0.5, 0.3, 0.3)
    assert stalls.reason(state(stage_scores=fallen)) and drops.reason(state(stage_scores=fallen))
    assert stalls.reason(state(scores=fallen)) is None and drops.reason(state(scores=fallen)) is None


def test_hours_are_those_of_the_stage():
    rule: Rule = AfterHours(0.5)
    assert rule.reason(state(seconds_in_stage=1799.0)) is None
    assert rule.reason(state(seconds_in_stage=1800.0)) == "it has run for 0.5 hours"


def test_a_jump_compares_the_last_steps_with_those_just_before():
    """Window 2, baseline 3: (130 + 150) / 2 = 140 against (100 + 110 + 90) / 3 = 100 is 1.4 times."""
    lengths = (20.0, 100.0, 110.0, 90.0, 130.0, 150.0)
    jump: Rule = WhenResponsesJump(factor=1.39, window_steps=2, baseline_steps=3)
    assert (
        jump.reason(state(response_tokens=lengths)) == "responses have grown to 140 tokens in 2 steps, from 100 before"
    )
    assert WhenResponsesJump(1.4, 2, 3).reason(state(response_tokens=lengths)) is None


def test_slow_growth_is_no_jump():
    rule = WhenResponsesJump(factor=1.3, window_steps=10, baseline_steps=50)
    growing = [1000 * 1.005**step for step in range(300)]  # four times as long in the end
    assert not any(rule.reason(state(response_tokens=growing[:n])) for n in range(300))


def test_too_few_steps_say_nothing():
    assert WhenResponsesJump(1.1, 2, 3).reason(state(response_tokens=(1.0, 1.0, 9.0, 9.0))) is None


def test_a_jump_downwards_is_refused_as_a_setting():
    with pytest.raises(ConfigError):
        WhenResponsesJump(1.0, 2, 3)
