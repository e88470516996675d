"""From a uniform number to a token, by hand: probabilities 1/2, 1/4, 1/8, 1/8 at temperature 1."""

import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.rollout.token_draw import draw_tokens, uniform_stream

PROBABILITIES = torch.tensor([0.5, 0.25, 0.125, 0.125])


def drawn(uniform: list[float], **settings) -> list[int]:
    logits_BV = PROBABILITIES.log().expand(len(uniform), -1)
    return draw_tokens(logits_BV, torch.tensor(uniform), **{"temperature": 1.0} | settings)[0].tolist()


def test_a_number_falls_into_the_part_of_its_token():
    """The parts end at 1/2, 3/4, 7/8 and 1."""
    assert drawn([0.0, 0.49, 0.51, 0.74, 0.76, 0.9, 0.9999999]) == [0, 0, 1, 1, 2, 3, 3]


def test_top_k_leaves_the_likeliest():
    """2/3 and 1/3."""
    assert drawn([0.0, 0.66, 0.67, 0.9999999], top_k=2) == [0, 0, 1, 1]


def test_top_p_leaves_the_fewest_that_reach_it():
    """0.7 needs 1/2 and 1/4; 0.75 is reached by them exactly; 0.76 needs a third: 4/7, 2/7, 1/7."""
    assert drawn([0.9999999], top_p=0.7) == drawn([0.9999999], top_p=0.75) == [1]
    assert drawn([0.57, 0.58, 0.86, 0.9999999], top_p=0.76) == [0, 1, 2, 2]


def test_top_p_counts_what_top_k_has_left():
    """Of two tokens with 2/3 and 1/3, the first alone reaches 0.6."""
    assert drawn([0.9999999], top_k=2, top_p=0.6) == [0]


def test_temperature_zero_takes_the_likeliest():
    assert drawn([0.9999999], temperature=0.0) == [0]


@pytest.mark.parametrize("cut", [{}, {"top_k": 1}, {"top_p": 0.1}])
def test_the_logprob_is_that_of_the_whole_vocabulary_at_the_temperature(cut):
    """At temperature 2 probabilities are as 1/sqrt(2), 1/2, 1/sqrt(8), 1/sqrt(8)."""
    token_B, logprob_B = draw_tokens(PROBABILITIES.log()[None], torch.zeros(1), temperature=2.0, **cut)
    assert token_B.tolist() == [0]
    assert_close(logprob_B, torch.tensor([math.log(2**-0.5 / (2**-0.5 + 0.5 + 2 * 8**-0.5))]))


def test_a_greedy_logprob_is_that_of_temperature_one():
    assert_close(
        draw_tokens(PROBABILITIES.log()[None], torch.zeros(1), temperature=0.0)[1], torch.tensor([math.log(0.5)])
    )


def test_a_token_without_probability_is_never_drawn():
    logits_BV = torch.tensor([[-torch.inf, 0.0, -torch.inf]]).expand(2, -1)
    token_B, _ = draw_tokens(logits_BV, torch.tensor([0.0, 1.0]), temperature=1.0)
    assert token_B.tolist() == [1, 1]


def test_tokens_come_as_often_as_their_probability_says():
    """40,000 numbers from a stream: each share within 0.01 (4 standard deviations)."""
    uniform_B = torch.from_numpy(uniform_stream(7, 40_000))
    token_B, _ = draw_tokens(PROBABILITIES.log().expand(40_000, -1), uniform_B, temperature=1.0)
    assert_close(torch.bincount(token_B) / 40_000, PROBABILITIES, atol=0.01, rtol=0)


def test_a_longer_stream_begins_as_a_shorter_one():
    assert np.array_equal(uniform_stream(3, 100)[:10], uniform_stream(3, 10))
    assert not np.array_equal(uniform_stream(3, 10), uniform_stream(4, 10))
