"""Shaped rewards, worked by hand."""

import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.shaping import (
    Responses,
    check_shaped,
    cosine_length,
    soft_overlong,
    termination_penalty,
)
from nemo_prorl.errors import ShapeError


def responses(lengths, limit=100, cut=None, step=0):
    return Responses(
        torch.tensor(lengths),
        torch.full((len(lengths),), limit),
        torch.tensor(cut if cut is not None else [length == limit for length in lengths]),
        step,
    )


def test_a_cut_answer_costs_and_another_does_not():
    """Rewards 1, 0 (ended) and 1, 0, .5 (cut): cut ones become 0.5 R - 0.25, that is .25, -.25, 0."""
    rewards = torch.tensor([1.0, 0.0, 1.0, 0.0, 0.5])
    found = termination_penalty(
        rewards, responses([9] * 5, cut=[False, False, True, True, True]), penalty=0.25, factor=0.5
    )
    assert_close(found, torch.tensor([1.0, 0.0, 0.25, -0.25, 0.0]))


def test_with_a_factor_of_zero_a_cut_answer_earns_nothing():
    """NeMo-RL's form, stop_properly_penalty_coef=0: a wrong one then costs no more than one that ended."""
    found = termination_penalty(torch.tensor([1.0, 0.0]), responses([100, 100]), penalty=0.0, factor=0.0)
    assert_close(found, torch.tensor([0.0, 0.0]))


def test_an_answer_that_ends_with_its_last_token_was_not_cut():
    found = termination_penalty(torch.tensor([1.0]), responses([100], cut=[False]), penalty=1.0)
    assert_close(found, torch.tensor([1.0]))


def test_the_penalty_grows_through_the_buffer_and_no_further():
    """Limit 100, buffer 20: free up to 80; 85 is a quarter in, 90 half, 100 whole, and so is what lies beyond."""
    found = soft_overlong(torch.zeros(6), responses([10, 80, 85, 90, 100, 130]), buffer_tokens=20)
    assert_close(found, torch.tensor([0.0, 0.0, -0.25, -0.5, -1.0, -1.0]))


def test_the_limit_is_each_prompts_own():
    """50 of 60 tokens is half into a buffer of 20, 50 of 100 is not in it."""
    facts = Responses(torch.tensor([50, 50]), torch.tensor([60, 100]), torch.tensor([False, False]), 0)
    assert_close(soft_overlong(torch.ones(2), facts, buffer_tokens=20, max_penalty=2.0), torch.tensor([0.0, 1.0]))


def test_the_shortest_gains_most_and_the_longest_least():
    """cos(0), cos(pi/3), cos(pi/2), cos(pi) = 1, 1/2, 0, -1: eta = 1, 3/4, 1/2, 0 between 0 and 1; weight 0.2."""
    facts = Responses(torch.tensor([0, 20, 30, 60]), torch.full((4,), 60), torch.zeros(4, dtype=torch.bool), 0)
    found = cosine_length(torch.tensor([1.0, 0.0, 1.0, 0.0]), facts, weight=0.2)
    assert_close(found, torch.tensor([1.2, 0.15, 1.1, 0.0]))
    found = cosine_length(torch.zeros(4), facts, weight=1.0, eta_min=-1.0, eta_max=1.0)
    assert_close(found, torch.tensor([1.0, 0.5, 0.0, -1.0]), atol=1e-6, rtol=0)


def test_the_cosine_works_for_some_steps_and_rests_for_some():
    """2 on, 3 off: steps 0 1, 5 6, 10 11."""
    works = [
        step
        for step in range(12)
        if cosine_length(torch.zeros(1), responses([10], step=step), on_steps=2, off_steps=3).item() != 0
    ]
    assert works == [0, 1, 5, 6, 10, 11]


def test_without_a_rest_it_always_works():
    assert cosine_length(torch.zeros(1), responses([10], step=999), on_steps=1, off_steps=0).item() > 0


@pytest.mark.parametrize("shaped", [torch.zeros(2), torch.tensor([1.0, float("nan"), 0.0])])
def test_a_shaping_that_loses_a_response_or_its_mind_is_named(shaped):
    with pytest.raises(ShapeError, match="'mine'"):
        check_shaped("mine", shaped, torch.zeros(3))
