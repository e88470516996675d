"""Exact tests against hand-worked numbers and scipy 1.17's."""

import numpy as np
import pytest

from nemo_prorl.analysis.exact_tests import (
    Counts,
    correlation,
    fisher_more,
    hidden_up_to,
    holm,
    mean_shift,
    ranks,
    rise_by_chance,
    sign_test,
)
from nemo_prorl.errors import DataError

# scipy.stats.fisher_exact(..., alternative="greater").pvalue
FISHER = {
    (3, 16, 0, 16): 0.11290322580645161,
    (1, 16, 0, 16): 0.5,
    (128, 256, 90, 256): 0.00046170093091571496,
    (5, 64, 0, 256): 0.00028137089507992194,
}
# scipy.stats.binomtest(ups, ups + downs).pvalue
SIGN = {(1, 0): 1.0, (5, 1): 0.21875, (12, 3): 0.03515625, (0, 8): 0.0078125}


@pytest.mark.parametrize("counts", FISHER)
def test_fisher_s_test_is_scipy_s(counts):
    assert fisher_more(*counts) == pytest.approx(FISHER[counts], rel=1e-12)


def test_fisher_s_test_by_hand():
    """2 of 2 against 0 of 2: of the C(4, 2) = 6 ways to deal out 2 successes, one gives both to the first side."""
    assert fisher_more(2, 2, 0, 2) == pytest.approx(1 / 6)
    with pytest.raises(DataError, match="successes are among trials"):
        fisher_more(3, 2, 0, 2)


@pytest.mark.parametrize("counts", SIGN)
def test_the_sign_test_is_scipy_s(counts):
    assert sign_test(*counts) == pytest.approx(SIGN[counts])


def test_of_no_changes_the_sign_test_says_nothing():
    assert sign_test(0, 0) == 1.0


def test_holm_s_correction_by_hand():
    """0.01 x 3, 0.02 x 2, 0.04 x 1 for three; the last can't be below the one before it."""
    assert holm([0.04, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.01, 0.3], tests=100) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_what_may_hide_behind_no_right_answer_is_clopper_and_pearson_s_limit():
    assert hidden_up_to(256) == pytest.approx(0.011633876163163285)  # scipy's proportion_ci of 0 in 256, one-sided


def test_correlations_of_seven_points_are_scipy_s_exact_permutation_tests():
    """permutation_test(..., permutation_type="pairings") of the correlation's absolute value."""
    x, y = np.array([0.9, 0.8, 0.85, 0.4, 0.2, 0.1, 0.05]), np.array([0.0, 0.05, -0.02, 0.2, 0.25, 0.5, 0.3])
    assert correlation(x, y) == pytest.approx((-0.9206573530710109, 0.003968253968253968))
    assert correlation(ranks(x), ranks(y)) == pytest.approx((-0.9285714285714288, 0.006746031746031746))


def test_correlations_of_many_points_have_the_p_value_of_scipy_s_permutation_test():
    """pearsonr of these 30 points: r = 0.5350; p = 0.00232 by Student's t, 0.00225 by 20,000 permutations."""
    random = np.random.default_rng(2)
    x = random.standard_normal(30)
    assert correlation(x, 0.4 * x + random.standard_normal(30)) == (
        pytest.approx(0.5350211458409747),
        pytest.approx(0.0023, abs=0.001),
    )


def test_there_is_no_correlation_of_two_points_or_of_what_does_not_vary():
    assert correlation(np.array([]), np.array([])) is None
    assert correlation(np.array([1.0, 2.0]), np.array([1.0, 3.0])) is None
    assert correlation(np.ones(5), np.arange(5.0)) is None


def test_equal_values_share_their_rank():
    assert ranks(np.array([3.0, 1.0, 3.0, 2.0])).tolist() == [3.5, 1.0, 3.5, 2.0]


def test_a_shift_of_all_of_ten_problems_is_seldom_chance():
    """Flipped at random, all ten go one way 2 times of 1,024."""
    assert mean_shift(np.full(10, 0.3)) == pytest.approx(2 / 1024, abs=0.002)
    assert mean_shift(np.zeros(10)) == 1.0
    assert mean_shift(np.array([0.5, -0.5, 0.5, -0.5])) == 1.0


def test_dealing_right_answers_out_anew_by_hand():
    """0 of 1, then 1 of 1: the right answer is the second's in half of the deals. Twice so, in a quarter."""
    before, after = (Counts(np.array([number] * 2), 1) for number in (0, 1))
    assert rise_by_chance(before, after, 1) == pytest.approx(0.25, abs=0.05)
    assert rise_by_chance(after, after, 1) == 1.0
    assert rise_by_chance(after, before, 1) == 1.0


def test_p_values_of_equal_models_are_evenly_spread():
    """Of 200 comparisons about 10 % are below 0.1, and half below 0.5: a valid test, and not a timid one."""
    random = np.random.default_rng(4)
    chance_P = random.beta(0.3, 3.0, 40)
    found = [rise_by_chance(*(Counts(random.binomial(32, chance_P), 32) for _ in range(2)), k=16) for _ in range(200)]
    assert 0.05 <= np.mean(np.array(found) < 0.1) <= 0.16
    assert 0.4 <= np.mean(np.array(found) < 0.5) <= 0.6
