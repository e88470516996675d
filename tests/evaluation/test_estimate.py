"""Standard errors, by hand and against what chance really does."""

import random
from statistics import fmean, stdev

import pytest

from nemo_prorl.evaluation.estimate import Estimate, Scores


def test_problems_are_what_the_standard_error_counts():
    """1, 0, 1/2, 1/2: mean 1/2, squares 1/4 + 1/4, over 4 * 3: variance 1/24."""
    found = Estimate.of_problems([1.0, 0.0, 0.5, 0.5])
    assert found.value == 0.5
    assert found.variance == pytest.approx(1 / 24)
    assert str(found) == "0.500 ± 0.204"


def test_a_single_problem_says_nothing_about_others():
    assert Estimate.of_problems([0.7]) == (0.7, None)
    assert str(Estimate.of_problems([0.7])) == "0.700"


def test_a_weighted_mean_of_independent_parts():
    """(3 * 0.2 + 1 * 0.6) / 4 = 0.3; (9 * 0.01 + 1 * 0.07) / 16 = 0.01: SE 0.1."""
    found = Estimate.weighted([(3.0, Estimate(0.2, 0.01)), (1.0, Estimate(0.6, 0.07))])
    assert found.value == pytest.approx(0.3)
    assert found.standard_error == pytest.approx(0.1)


def test_what_is_unknown_of_a_part_that_counts_is_unknown_of_the_whole():
    known, unknown = Estimate(0.2, 0.01), Estimate(0.6, None)
    assert Estimate.weighted([(1.0, known), (1.0, unknown)]).variance is None
    assert Estimate.weighted([(1.0, known), (0.0, unknown)]) == known


def test_scores_of_parts_are_those_that_all_of_them_have():
    parts = [
        (1.0, Scores({"score": Estimate(0.2, None), "pass_at_4": Estimate(0.4, None)})),
        (1.0, Scores({"score": Estimate(0.4, None)})),
    ]
    assert dict(Scores.weighted(parts)) == {"score": Estimate(pytest.approx(0.3), None)}


def test_sets_that_are_only_watched_weigh_the_same_among_themselves():
    parts = [(0.0, Scores({"score": Estimate(0.2, None)})), (0.0, Scores({"score": Estimate(0.4, None)}))]
    assert Scores.weighted(parts)["score"].value == pytest.approx(0.3)


def test_the_standard_error_is_how_far_repeated_validations_scatter():
    """40 new problems of very different difficulty, each answered 8 times, 2,000 times over.

    Were the 320 answers taken for independent, the standard error would come out less than half as large.
    """
    draw = random.Random(0)

    def validation() -> Estimate:
        chances = [draw.choice([0.05, 0.5, 0.95]) for _ in range(40)]
        return Estimate.of_problems([sum(draw.random() < chance for _ in range(8)) / 8 for chance in chances])

    found = [validation() for _ in range(2000)]
    scatter = stdev(estimate.value for estimate in found)
    assert fmean(estimate.variance for estimate in found) ** 0.5 == pytest.approx(scatter, rel=0.05)
    assert scatter / 2 > (0.25 / 320) ** 0.5
