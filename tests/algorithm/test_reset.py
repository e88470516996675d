import pytest

from nemo_prorl.algorithm.plateau import Drop, Plateau
from nemo_prorl.algorithm.reset import AtEntry, EveryKSteps, KLAbove, OnRequest, ValidationDrops, ValidationStalls
from nemo_prorl.errors import ConfigError
from nemo_prorl.recipe import Rule, TrainingState, first_reason


def state(since_reset=5, in_stage=5, **more):
    return TrainingState(steps_since_reset=since_reset, steps_in_stage=in_stage, **more)


def test_every_k_steps_is_due_at_the_kth_step_without_a_reset():
    rule: Rule = EveryKSteps(3)
    reasons = [rule.reason(state(steps, steps)) for steps in range(5)]
    assert [reason is not None for reason in reasons] == [False, False, False, True, True]
    assert reasons[3] == "3 steps since the last reset, due every 3"


def test_every_k_steps_counts_across_stages():
    assert EveryKSteps(10).reason(state(since_reset=10, in_stage=2))


def test_a_stage_begins_with_a_reset_except_at_the_very_first_step():
    rule: Rule = AtEntry()
    assert rule.reason(state(since_reset=0, in_stage=0)) is None
    assert rule.reason(state(since_reset=50, in_stage=0)) == "a stage begins"
    assert rule.reason(state(since_reset=51, in_stage=1)) is None


def test_a_stage_does_not_reset_again_what_was_just_reset():
    assert AtEntry().reason(state(since_reset=0, in_stage=0)) is None


def test_never_is_not_written_as_zero():
    with pytest.raises(ConfigError, match="null means never"):
        EveryKSteps(0)


def test_validation_since_the_last_reset_decides():
    stalls: Rule = ValidationStalls(Plateau(patience=2))
    drops: Rule = ValidationDrops(Drop(0.1))
    fallen = (0.5, 0.3, 0.3)
    assert stalls.reason(state(scores=fallen)) and drops.reason(state(scores=fallen))
    assert stalls.reason(state(stage_scores=fallen)) is None and drops.reason(state(stage_scores=fallen)) is None


def test_the_kl_is_averaged_over_its_window_and_must_fill_it():
    """(0.1 + 0.5) / 2 = 0.3: above 0.29, not above 0.3. One step alone is not a window of two."""
    kls = (0.9, 0.1, 0.5)
    assert KLAbove(0.29, 2).reason(state(kls=kls)) == (
        "the KL to the reference, averaged over 2 steps, is 0.3, above 0.29"
    )
    assert KLAbove(0.3, 2).reason(state(kls=kls)) is None
    assert KLAbove(0.3, 2).reason(state(kls=(0.9,))) is None


def test_a_request_is_obeyed_with_its_reason():
    assert OnRequest().reason(state()) is None
    assert OnRequest().reason(state(request="the entropy looks odd")) == "on request: the entropy looks odd"


def test_of_several_rules_the_first_with_a_reason_speaks():
    rules = (OnRequest(), KLAbove(1.0), EveryKSteps(5), AtEntry())
    assert first_reason(rules, state()) == "5 steps since the last reset, due every 5"
    assert first_reason(rules, state(kls=(2.0,))).startswith("the KL")
    assert first_reason(rules, state(since_reset=1)) is None


def test_settings_that_mean_nothing_are_refused():
    with pytest.raises(ConfigError):
        KLAbove(0.0)
