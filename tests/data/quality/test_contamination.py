"""Leaks are found whole, reworded or within longer texts; the wording that problems of a kind share is none."""

import pytest

from nemo_prorl.data.prepare.base import row_of_question
from nemo_prorl.data.quality.contamination import Contamination

AIME = (
    "Every morning Aya goes for a 9-kilometer-long walk and stops at a coffee shop afterwards. When she walks at a "
    "constant speed of s kilometers per hour, the walk takes her 4 hours, including t minutes in the coffee shop. "
    "When she walks s + 2 kilometers per hour, the walk takes her 2 hours and 24 minutes, including t minutes spent in "
    "the coffee shop. Find the number of minutes the walk takes her at s + 1/2 kilometers per hour."
)
FORM = "where m and n are relatively prime positive integers. Find the remainder when m + n is divided by 1000."


@pytest.fixture
def judge(row):
    """Knows AIME, a short problem, and 15 that end in the same form."""
    asked = [row(AIME, "aime-60"), row("Compute 17 * 23.", "short")]
    asked += [row(f"Let a{i} b{i} c{i} d{i} e{i} f{i} g{i} h{i} be {i}, {FORM}", f"form-{i}") for i in range(15)]
    contamination = Contamination([("aime_2024", one) for one in asked])
    assert len(contamination) == 17
    return contamination.judge


def test_the_same_question_is_a_leak(judge, row):
    assert judge(row(AIME.upper())) == "contaminated: asks aime-60 of aime_2024"
    assert judge(row("compute 17 * 23.")) == "contaminated: asks short of aime_2024"


def test_a_short_question_is_a_leak_whatever_instruction_follows_it(judge):
    def asked(question):
        return row_of_question("mine", "math", question, {}, instruction="Use a box.", system_prompt=None)

    assert judge(asked("Compute 17 * 23.")) == "contaminated: asks short of aime_2024"
    assert judge(asked("Compute 17 * 24.")) is None


def test_a_reworded_question_is_a_leak(judge, row):
    reason = judge(row(AIME.replace("Every morning", "Each day").replace("kilometers per hour", "km per hour", 1)))
    assert reason.startswith("contaminated: like aime-60 of aime_2024, similarity 0.")


def test_a_question_within_a_longer_text_is_a_leak(judge, row):
    """The first two of its sentences, among many others: more than half of its words."""
    part = AIME[: AIME.index("When she walks s + 2")]
    padding = " ".join(f"word{'x' * (i % 9)}{i}" for i in range(300))
    reason = judge(row(f"{padding} {part} She walks s + 2 kilometers per hour, the walk takes her 2 hours. {padding}"))
    assert reason.startswith("contaminated: has ")
    assert reason.endswith(" words of aime-60 of aime_2024, in runs of 8")


def test_less_than_half_of_a_question_is_none(judge, row):
    assert judge(row("Every morning Aya goes for a 9-kilometer-long walk and stops at the bakery for bread.")) is None


def test_the_form_that_many_questions_share_is_none(judge, row):
    assert judge(row(f"The area of the triangle is m/n, {FORM}")) is None


def test_other_numbers_are_another_problem_if_little_else_is_the_same(judge, row):
    assert judge(row("Compute 18 * 23.")) is None
