from fractions import Fraction
from itertools import combinations
from math import comb
from random import Random
from statistics import fmean, pvariance

import pytest

from nemo_prorl.errors import DataError
from nemo_prorl.evaluation.pass_at_k import pass_at_k, pass_at_k_bound


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
