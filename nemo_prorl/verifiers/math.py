r"""Mathematics: the last \boxed{...} against the reference, by two graders.

The first is our own (`verifiers/algebra`): it normalises both texts and compares what they mean. What it can't settle
math-verify is asked. One of them accepting is enough, as in the paper; but where ours has read both sides in full and
found them different, math-verify isn't asked: it takes 1/2004! for 1/2006! and 43 = 42 for 42.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from nemo_prorl.data.boxed import last_boxed
from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers import math_verify_grader
from nemo_prorl.verifiers.algebra.compare import compare
from nemo_prorl.verifiers.algebra.identity import DIFFERENT, EQUAL
from nemo_prorl.verifiers.algebra.reading import Reading, readings
from nemo_prorl.verifiers.algebra.text import bare, clean, is_word, normal
from nemo_prorl.verifiers.answer import after_reasoning
from nemo_prorl.verifiers.screen import MAX_EXPRESSION_CHARS


class MathVerifier:
    r"""Right when the last \boxed{...} equals the reference's "answer": {"answer": "\\frac{1}{2}"}.

    The box is looked for after </think> where that stands, else in the whole text; with "thinking": true, for prompts
    that end with <think>, a text without </think> answers nothing. Text outside of the box is never read.

    Equal are: the same text up to notation; numbers of equal value, decimals to six places; expressions equal wherever
    both have a value; lists and sets of equal items; equations of the same solutions; 5% and 5 and 0.05; 5 cm and 5 and
    50 mm. What says more than one value, or takes its value back in words, is wrong. A reference in notation that
    neither grader knows is met by its own text alone.
    """

    @staticmethod
    def warm_up() -> None:
        math_verify_grader.warm_up()

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        gold = read_gold(reference.get("answer"))
        answer = after_reasoning(text, begun=bool(reference.get("thinking")))
        if answer is None:
            return Verdict(0.0, "the reasoning never ends", "no_answer")
        boxed = last_boxed(answer)
        if not boxed:
            return Verdict(0.0, r"no \boxed{...}" if boxed is None else r"an empty \boxed{}", "no_answer")
        right, reason = judge(gold, boxed)
        return Verdict(float(right), reason)


@dataclass(frozen=True, eq=False)
class Gold:
    """A reference, read once."""

    text: str
    cleaned: str
    normal: str
    readings: tuple[Reading, ...]


def read_gold(answer: Any) -> Gold:
    """The reference `answer`, a text or a number.

    Raises:
        VerifierError: it is neither, or can't be read as mathematics.
    """
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float)):
        raise VerifierError(
            f"reference.answer is {answer!r}, expected text or a number; drop the problem from the data"
        )
    return _read_gold(str(answer))


@lru_cache(maxsize=4096)
def _read_gold(answer: str) -> Gold:
    text = bare(answer)
    cleaned = clean(text)
    gold = Gold(text, cleaned, normal(cleaned), readings(cleaned))
    malformed = all(reading.node is None for reading in gold.readings)
    if not any(map(str.isalnum, gold.normal)) or (malformed and not math_verify_grader.can_read(text)):
        raise VerifierError(f"reference.answer {text!r} can't be read as mathematics; drop the problem from the data")
    return gold


def judge(gold: Gold, boxed: str) -> tuple[bool, str]:
    """Whether what stands in the box is right, and a reason; the same for the same two texts."""
    if len(boxed) > max(MAX_EXPRESSION_CHARS, 2 * len(gold.text)):
        return False, f"{len(boxed)} characters in the box; at most {MAX_EXPRESSION_CHARS} are read"
    return _judge(gold, boxed)


@lru_cache(maxsize=16_384)  # samples of one prompt often answer the same
def _judge(gold: Gold, boxed: str) -> tuple[bool, str]:
    text = bare(boxed)
    if text == gold.text:
        return True, f"answered {text[:80]!r}"
    cleaned = clean(text)
    answered = f"answered {text[:80]!r}"
    normalised = normal(cleaned)
    if normalised == gold.normal:
        return True, answered
    if is_word(gold.normal) and is_word(normalised):
        return False, answered
    comparison = compare(gold.readings, readings(cleaned))
    if comparison in (EQUAL, DIFFERENT):
        return comparison is EQUAL, answered
    unfit = math_verify_grader.unfit(gold.text, text)
    if unfit:
        return False, f"the boxed answer isn't evaluated: {unfit}"
    try:
        return math_verify_grader.accepts(gold.text, text), f"{answered}, by math-verify"
    except Exception as error:  # deep nesting or no memory left: the answer's doing, the reference was read before
        return False, f"the boxed answer can't be evaluated: {type(error).__name__}"
