r"""Two graders on the last \boxed{...}."""

import json
from pathlib import Path

import pytest

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.math import MathVerifier

CASES = [json.loads(line) for line in (Path(__file__).parent / "math_cases.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def verifier():
    return MathVerifier()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['gold']} ~ {case['answer']}")
def test_a_case_worked_by_hand(verifier, case):
    verdict = verifier.check({"answer": case["gold"]}, f"Therefore \\boxed{{{case['answer']}}}.")
    assert (verdict.reward, verdict.outcome) == (float(case["right"]), "scored"), verdict.reason


def test_only_the_last_box_is_read(verifier):
    assert verifier.check({"answer": "2"}, r"\boxed{1} wait, \boxed{2}").reward == 1.0
    assert verifier.check({"answer": "1"}, r"\boxed{1} wait, \boxed{2}").reward == 0.0
    assert verifier.check({"answer": "1"}, r"The answer is $1$, that is, \boxed{2}").reward == 0.0


def test_a_box_in_the_reasoning_is_no_answer(verifier):
    assert verifier.check({"answer": "2"}, r"<think>\boxed{2}</think> So \boxed{3}").reward == 0.0
    assert verifier.check({"answer": "2"}, r"\boxed{3}</think> So \boxed{2}").reward == 1.0
    for text in (r"<think>Is it \boxed{2}?", r"<think>\boxed{2}</think> It is 2."):
        verdict = verifier.check({"answer": "2"}, text)
        assert (verdict.reward, verdict.outcome) == (0.0, "no_answer")


def test_where_the_prompt_began_the_reasoning_the_text_must_end_it(verifier):
    thinking = {"answer": "2", "thinking": True}
    assert verifier.check(thinking, r"\boxed{2}").outcome == "no_answer"
    assert verifier.check(thinking, r"Hm.</think>\boxed{2}").reward == 1.0


def test_math_verify_is_asked_what_our_own_grader_cannot_settle(verifier):
    assert "by math-verify" in verifier.check({"answer": "(1, 2)"}, r"\boxed{1, 2}").reason
    assert "by math-verify" not in verifier.check({"answer": "3"}, r"\boxed{4}").reason


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (r"\sum_{i=1}^{99999} i^{999}", "left to be worked out"),
        (r"\overrightarrow{" * 12 + "}" * 12, "nested deeper"),
        (r"\overrightarrow{" + "x+" * 200 + "x}", "characters"),
        (r"\overrightarrow{9}^{9^{9^9}}", "an exponent above"),
    ],
)
def test_math_verify_is_spared_what_would_keep_it_busy(verifier, answer, why):
    verdict = verifier.check({"answer": "x"}, f"\\boxed{{{answer}}}")
    assert verdict.reward == 0.0 and why in verdict.reason


@pytest.mark.parametrize("text", ["", "2", "The answer is $2$", r"\boxed{}", r"\boxed{ }", r"\boxed{2", r"\boxed 2"])
def test_without_a_full_box_there_is_no_answer(verifier, text):
    verdict = verifier.check({"answer": "2"}, text)
    assert (verdict.reward, verdict.outcome) == (0.0, "no_answer")


@pytest.mark.parametrize("gold", [142, 142.0, "142.0", "$142$", r"\boxed{142}", r"\(142\)"])
def test_a_reference_may_be_a_number_or_wrapped(verifier, gold):
    assert verifier.check({"answer": gold}, r"\boxed{142}").reward == 1.0


@pytest.mark.parametrize("gold", ["", " ", "}", "$", "\\text{}", "???", "\\frac{1}{", None, True, ["1"]])
def test_a_reference_that_cannot_be_read_is_the_verifiers_own_failure(verifier, gold):
    """Also when the text has no answer: a broken row is named the first time it is seen."""
    for text in (r"\boxed{1}", ""):
        with pytest.raises(VerifierError, match=r"reference\.answer"):
            verifier.check({"answer": gold}, text)


@pytest.mark.parametrize(
    "answer",
    [
        *("9^{9^{9^9}}", "((9!)!)!", "{" * 30 + "}" * 30, "7" * 5000, "\ud800", "\x00", "\\"),
        *("binom(5)", "binom(5, 2, 1)", "abs_2(5)", r"\frac{binom(5)}{2}"),
    ],
)
def test_a_hostile_answer_is_wrong(verifier, answer):
    verdict = verifier.check({"answer": "2"}, f"\\boxed{{{answer}}}")
    assert verdict.reward == 0.0 and verdict.outcome in ("scored", "no_answer")
