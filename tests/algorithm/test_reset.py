import pytest

from nemo_prorl.algorithm.reset import AtEntry, EveryKSteps
from nemo_prorl.errors import ConfigError
from nemo_prorl.recipe import ResetRule, TrainingState


def state(since_reset, in_stage):
    return TrainingState(steps_since_reset=since_reset, steps_in_stage=in_stage)


def test_every_k_steps_is_due_at_the_kth_step_without_a_reset():
    rule: ResetRule = EveryKSteps(3)
    reasons = [rule.reason(state(steps, steps)) for steps in range(5)]
    assert [reason is not None for reason in reasons] == [False, False, False, True, True]
    assert reasons[3] == "3 steps since the last reset, due every 3"


def test_every_k_steps_counts_across_stages():
    assert EveryKSteps(10).reason(state(since_reset=10, in_stage=2))


def test_a_stage_begins_with_a_reset_except_at_the_very_first_step():
    rule: ResetRule = AtEntry()
    assert rule.reason(state(since_reset=0, in_stage=0)) is None
    assert rule.reason(state(since_reset=50, in_stage=0)) == "a stage begins"
    assert rule.reason(state(since_reset=51, in_stage=1)) is None


def test_a_stage_does_not_reset_again_what_was_just_reset():
    assert AtEntry().reason(state(since_reset=0, in_stage=0)) is None


def test_never_is_not_written_as_zero():
    with pytest.raises(ConfigError, match="null means never"):
        EveryKSteps(0)
