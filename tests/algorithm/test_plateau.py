"""Series of scores worked by hand."""

import pytest

from nemo_prorl.algorithm.plateau import Drop, Plateau, smoothed
from nemo_prorl.errors import ConfigError


def first_found(rule, scores):
    """After how many of `scores` the rule first has something to say, or None."""
    return next((n for n in range(len(scores) + 1) if rule.found_in(scores[:n])), None)


def test_a_plateau_is_seen_when_the_best_score_is_so_many_validations_old():
    """Best .5 is the second; with patience 3 the third worse one after it, the fifth of all, decides."""
    assert first_found(Plateau(patience=3), [0.4, 0.5, 0.45, 0.5, 0.48, 0.6]) == 5


def test_a_rising_series_has_no_plateau():
    assert first_found(Plateau(patience=1), [0.1, 0.2, 0.3, 0.4]) is None


def test_a_rise_must_pass_the_best_by_more_than_min_delta():
    """.51 and .52 are within .02 of .50: not better; .521 is more than .02 above."""
    assert first_found(Plateau(patience=2, min_delta=0.02), [0.50, 0.51, 0.52]) == 3
    assert first_found(Plateau(patience=2, min_delta=0.02), [0.50, 0.51, 0.521]) is None


def test_small_steps_add_up_against_the_best_that_counted():
    """.50, .515, .53: the third is .03 above the first, which still is the level to beat."""
    assert first_found(Plateau(patience=2, min_delta=0.02), [0.50, 0.515, 0.53, 0.53, 0.53]) == 5


def test_smoothing_averages_a_score_with_those_before_it():
    """Averages of 2: .4, .5, .5, .5; without smoothing .6 would be a new best at the second."""
    assert smoothed([0.4, 0.6, 0.4, 0.6], 2) == pytest.approx([0.4, 0.5, 0.5, 0.5])
    assert first_found(Plateau(patience=2, smoothing=2), [0.4, 0.6, 0.4, 0.6]) == 4


def test_a_drop_is_measured_from_the_best():
    """From .6 to .54 is .06: over .05. From .6 to .56 is not."""
    assert first_found(Drop(0.05), [0.3, 0.6, 0.56, 0.54]) == 4


def test_nothing_is_found_in_nothing():
    assert Plateau(patience=1).found_in([]) is None
    assert Drop(0.1).found_in([]) is None


def test_what_is_found_says_the_figures():
    assert Plateau(2, 0.01, 2).found_in([0.5, 0.4, 0.4]) == (
        "no validation better than 0.5000 in the last 2 by 0.01 (averages of 2)"
    )
    assert Drop(0.05).found_in([0.5, 0.4]) == "validation has fallen to 0.4000 from 0.5000, by more than 0.05"


@pytest.mark.parametrize(
    "make", [lambda: Plateau(0), lambda: Plateau(1, -0.1), lambda: Plateau(1, 0, 0), lambda: Drop(0)]
)
def test_settings_that_mean_nothing_are_refused(make):
    with pytest.raises(ConfigError):
        make()
