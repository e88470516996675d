"""What a run remembers of itself, and what resets and new stages make of it."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import CheckpointError
from nemo_prorl.recipe import Recipe, Stage
from nemo_prorl.run_state import RunState

FIRST = Stage("first", 3, 4, 2, SamplingParams(2, 8, 32), kl_weight=0.0)
SECOND = replace(FIRST, name="second")
LONGER = replace(FIRST, name="longer", sampling=SamplingParams(2, 8, 64))


def a_state() -> RunState:
    return RunState.at_start(Recipe((FIRST, SECOND)))


def stepped(state: RunState, *tolds: dict[str, float]) -> RunState:
    for told in tolds:
        state.stepped(told)
    return state


def test_steps_are_counted_and_series_grow():
    state = stepped(a_state(), {"kl": 0.1, "response_tokens": 20.0, "seconds": 2.0}, {"response_tokens": 22.0})
    seen = state.seen_by_rules()
    assert (state.step, seen.steps_in_stage, seen.steps_since_reset, seen.seconds_in_stage) == (2, 2, 2, 2.0)
    assert (seen.kls, seen.response_tokens) == ((0.1,), (20.0, 22.0))


def test_the_best_validation_is_the_highest_of_its_context_length():
    state = a_state()
    found = [state.validated(score, 32, score) for score in (0.3, 0.5, 0.5, 0.4)]
    assert found == [True, True, False, False]
    assert state.validated(0.1, 64, 0.1), "another context length is another contest"
    assert state.best is not None and state.best.score == 0.1


def test_after_a_reset_series_begin_with_the_score_of_the_policy_reset_to():
    state = stepped(a_state(), {"kl": 0.2})
    state.validated(0.5, 32, 0.5)
    state.was_reset(None, 32)
    assert (state.scores, state.kls, state.steps_since_reset, state.resets) == ([0.5], [], 0, 1)
    assert state.stage_scores == [0.5], "the stage goes on"


def test_a_score_of_an_older_policy_is_not_that_of_the_one_reset_to():
    state = stepped(a_state(), {})
    state.validated(0.5, 32, 0.5)
    stepped(state, {}).was_reset(None, 32)
    assert state.scores == []


def test_a_reset_to_the_best_begins_with_the_best_score():
    state = stepped(a_state(), {})
    state.validated(0.5, 32, 0.5)
    stepped(state, {}).validated(0.3, 32, 0.3)
    state.was_reset(state.best, 32)
    assert state.scores == [0.5]


def test_a_reset_to_a_best_policy_of_another_context_length_begins_without_a_score():
    state = stepped(a_state(), {})
    state.validated(0.5, 32, 0.5)
    stepped(state, {}).entered(LONGER, FIRST)
    state.was_reset(state.best, 64)
    assert state.scores == []


def test_a_new_stage_begins_its_own_series_and_keeps_those_of_the_reset():
    state = stepped(a_state(), {"kl": 0.1, "response_tokens": 9.0, "seconds": 1.0})
    state.validated(0.4, 32, 0.4)
    state.entered(SECOND, FIRST)
    assert (state.stage, state.steps_in_stage, state.seconds_in_stage) == ("second", 0, 0.0)
    assert (state.stage_scores, state.scores, state.kls, state.response_tokens) == ([0.4], [0.4], [0.1], [])


def test_scores_of_another_context_length_are_not_compared_with_those_to_come():
    state = stepped(a_state(), {})
    state.validated(0.4, 32, 0.4)
    state.entered(LONGER, FIRST)
    assert (state.stage_scores, state.scores) == ([], [])


def test_the_effect_of_a_reset_compares_means_before_and_after():
    """Rewards .2, .4 before and .5, .7 after; entropies 1.0 and 0.5; validations .3 and .6."""
    state = stepped(a_state(), {"reward": 0.2, "entropy": 1.0}, {"reward": 0.4, "entropy": 1.0})
    state.validated(0.3, 32, 0.3)
    state.was_reset(None, 32)
    stepped(state, {"reward": 0.5, "entropy": 0.5, "kl": 0.01}, {"reward": 0.7, "entropy": 0.5, "kl": 0.02})
    state.validated(0.6, 32, 0.6)
    assert state.effect_of_reset() == pytest.approx(
        {
            "reset_effect/steps": 2.0,
            "reset_effect/reset_at_step": 2.0,
            "reset_effect/reward_before": 0.3,
            "reset_effect/reward_after": 0.6,
            "reset_effect/entropy_before": 1.0,
            "reset_effect/entropy_after": 0.5,
            "reset_effect/score_before": 0.3,
            "reset_effect/score_after": 0.6,
            "reset_effect/kl_after": 0.02,
        }
    )
    assert state.effect_of_reset() == {}, "it is told once"


def test_it_survives_json():
    state = stepped(a_state(), {"kl": 0.1, "reward": 0.2, "response_tokens": 3.0})
    state.validated(0.3, 32, 0.3)
    state.was_reset(None, 32)
    saved: dict[str, Any] = json.loads(json.dumps(state.as_dict()))
    assert RunState.from_dict(saved) == state


def test_the_state_of_another_version_is_refused_by_name():
    with pytest.raises(CheckpointError, match="version"):
        RunState.from_dict({**a_state().as_dict(), "mood": "good"})
