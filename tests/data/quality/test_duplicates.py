"""What counts as asked before, and what only looks like it."""

import random

import pytest

from nemo_prorl.data.quality.duplicates import ExactDuplicates, NearDuplicates
from nemo_prorl.data.quality.similar import SimilarTexts
from nemo_prorl.data.quality.wording import figures_of, jaccard, shingles_of, tokens_of

TRAIN = (
    "A train leaves the station at noon and travels east at a constant speed of 60 miles per hour. Another leaves "
    "the same station two hours later and follows it at 80 miles per hour. How far from the station do they meet?"
)


def test_the_same_question_is_found_however_it_is_spaced(row):
    judge = ExactDuplicates().judge
    assert judge(row("What is 1 + 1?", "a")) is None
    assert judge(row("what is  1 + 1? ", "b")) == "asked before: a"
    assert judge(row("What is 1 + 2?", "c")) is None


def test_the_same_question_with_another_answer_is_told_apart(row):
    judge = ExactDuplicates().judge
    assert judge(row("What is 1 + 1?", "a", reference={"answer": "2"})) is None
    assert judge(row("What is 1 + 1?", "b", reference={"answer": "3"})) == "asked before with another reference: a"


@pytest.mark.parametrize(
    ("question", "is_near"),
    [
        (TRAIN.replace("How far", "How far away"), True),
        (TRAIN.replace("noon", "midday").upper(), True),
        (TRAIN.replace("60", "$60$").replace(" per ", "  per\n"), True),
        (TRAIN.replace("60", "65"), False),
        (TRAIN.replace("east", "east - west"), False),
        ("A car leaves town at 60 miles per hour, another at 80. When do they meet?", False),
    ],
)
def test_wording_and_typesetting_make_no_new_problem_but_numbers_and_operators_do(row, question, is_near):
    judge = NearDuplicates().judge
    assert judge(row(TRAIN, "a")) is None
    reason = judge(row(question, "b"))
    assert (reason is not None and reason.startswith("near duplicate: of a, similarity ")) or not is_near
    assert (reason is None) != is_near


def test_of_equally_similar_questions_the_first_is_named(row):
    judge = NearDuplicates().judge
    assert judge(row(TRAIN, "a")) is None
    assert judge(row(TRAIN + " Explain.", "b")).startswith("near duplicate: of a")
    assert judge(row(TRAIN, "c")) == "near duplicate: of a, similarity 1.00"


def test_generated_puzzles_share_their_wording_and_are_kept(row):
    judge = NearDuplicates().judge
    for uid in "abc":
        assert judge(row(TRAIN, uid, domain="logic")) is None


def test_similarity_is_shared_runs_of_all_runs():
    """a b c d e / a b c d f, runs of 3: abc bcd cde / abc bcd cdf share 2 of 4."""
    one, other = (shingles_of(text.split(), 3) for text in ("a b c d e", "a b c d f"))
    assert jaccard(one, other) == 0.5
    assert len(shingles_of(["a"], 3)) == 1
    assert len(shingles_of([], 3)) == 0


def test_figures_are_numbers_and_operators():
    assert figures_of(tokens_of(r"$\frac{3}{4} \leq x + 3$")) == ("+", "3", "3", "4", "≤")


@pytest.mark.parametrize(("changed", "similarity"), [(2, 0.85), (20, 0.3)])
def test_candidates_are_not_missed(changed, similarity):
    """1,000 texts of 60 words, each asked again with some words changed at the end: all or none of them are similar."""
    rng = random.Random(0)
    words = [f"{a}{b}" for a in "bcdfghklmnp" for b in ("ab", "eb", "ob", "ub", "ak", "ek", "ok")]
    known = SimilarTexts(threshold=0.8, shingle_tokens=3)
    found = 0
    for number in range(1000):
        text = rng.choices(words, k=60)
        assert known.add(str(number), " ".join(text)) is None
        text[-changed:] = rng.choices(words, k=changed)
        found += known.most_similar(" ".join(text)) is not None
    assert found == (1000 if similarity > 0.8 else 0)
