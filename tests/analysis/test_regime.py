"""The rule of diminish, plateau and sustained, on answers of models whose true curves are known."""

from collections import Counter

import numpy as np
import pytest

from nemo_prorl.analysis.exact_tests import Counts
from nemo_prorl.analysis.regime import classify

N, K = 256, 128


def told(chances, random):
    """What the rule says of models with these chances, from 256 answers of each to every problem."""
    return classify(*(Counts(random.binomial(N, chance_P), N) for chance_P in chances), K).kind


def boundary(chance_P):
    """The true mean pass@128."""
    return float(np.mean(1 - (1 - chance_P) ** K))


def out_of_reach(problems, random):
    """Chances: a third of the problems is never solved, a third now and then, and a third so rarely, once in 30 to
    3,000 answers, that 256 of them tell pass@128 badly."""
    third = problems // 3
    rarely_P = 10 ** random.uniform(-3.5, -1.5, third)
    often_P = random.beta(0.5, 1.0, problems - 2 * third) * 0.9 + 0.05
    return np.concatenate([np.zeros(third), rarely_P, often_P])


def within_reach(chance_P, count, random):
    """The first `count` of those never solved are solved now and then."""
    reached_P = chance_P.copy()
    new = np.flatnonzero(reached_P == 0)[:count]
    reached_P[new] = random.uniform(0.02, 0.6, len(new))
    return reached_P


def trained(kind, problems, random):
    """Chances under base, middle and final. The truth is clear: differences are 0 or less, or 8 points and more.

    pass@1 rises in all of them, as it does in the paper, also where the boundary shrinks.
    """
    base_P = out_of_reach(problems, random)
    step = round(0.08 * problems)
    gains = {"diminish": (0, 0), "plateau": (2 * step, 2 * step), "sustained": (step, 3 * step)}[kind]
    middle_P, final_P = (within_reach(base_P, count, random) for count in gains)
    shared = (middle_P > 0) & (final_P > 0)
    final_P[shared] = middle_P[shared]  # what the middle model has found, the final one hasn't lost
    if kind == "diminish" and random.random() < 0.5:
        final_P[-step:] = 0.0  # narrowed, too; otherwise unchanged
    sharper = np.where(final_P > 0.3, np.minimum(1.0, final_P + 0.15), final_P)
    return base_P, middle_P, sharper


@pytest.mark.parametrize("problems", [50, 100])
@pytest.mark.parametrize("kind", ["diminish", "plateau", "sustained"])
def test_at_least_95_of_100_curves_of_known_truth_are_told_rightly_from_256_answers(kind, problems):
    random = np.random.default_rng(problems)
    kinds = [told(trained(kind, problems, random), random) for _ in range(100)]
    assert kinds.count(kind) >= 95, Counter(kinds)


def test_the_synthetic_truth_is_what_it_is_called():
    random = np.random.default_rng(0)
    for _ in range(100):
        for kind in ("diminish", "plateau", "sustained"):
            base, middle, final = (boundary(chance_P) for chance_P in trained(kind, 100, random))
            assert (final - base >= 0.08) == (kind != "diminish")
            assert kind == "diminish" or (final - middle >= 0.08) == (kind == "sustained")


def test_noise_alone_is_no_gain():
    """Evaluations of one and the same model: of 200 at most 5 % may be told as anything but diminish."""
    random = np.random.default_rng(1)
    # Many are solved once in a hundred times: the noisiest pass@128.
    kinds = [told([random.beta(0.05, 1.0, 60)] * 3, random) for _ in range(200)]
    assert kinds.count("diminish") >= 190, Counter(kinds)


def counts(*solved, samples=N):
    return Counts(np.array(solved), samples)


def test_without_a_middle_model_a_gain_is_just_a_gain():
    none, all_of_them = counts(*[0] * 20), counts(*[N] * 20)
    assert classify(none, None, all_of_them, K) == ("gain", {"diminish": 0.0, "gain": 1.0})
    assert classify(all_of_them, None, all_of_them, K).kind == "diminish"


def test_a_gain_that_could_be_chance_is_none():
    """5 problems solved once in 4 answers after never: pass@4 rises from 0 to 1 on each, but a right answer that could
    have been either model's was the second one's 5 times out of 5, which is 1 of 32 by chance, and 0.031 > 0.025."""
    verdict = classify(counts(*[0] * 5, samples=4), None, counts(*[1] * 5, samples=4), 4)
    assert verdict == ("diminish", {"diminish": 0.0, "gain": 1.0})
    assert classify(counts(*[0] * 7, samples=4), None, counts(*[1] * 7, samples=4), 4).kind == "gain"


def test_a_gain_too_small_to_matter_is_none():
    """One problem of 100 newly solved is 1 point, however often it is solved; 3 are 3 points."""
    before = counts(*[0] * 100)
    assert classify(before, None, counts(200, *[0] * 99), K).kind == "diminish"
    assert classify(before, None, counts(200, 200, 200, *[0] * 97), K).kind == "gain"


def test_models_may_have_answered_unequally_often():
    """8 of 16 and 128 of 256 are the same chance, and pass@8 is 1 but for the smaller one's luck."""
    assert classify(counts(*[8] * 50, samples=16), None, counts(*[128] * 50), 8).kind == "diminish"
