r"""math-verify on the last \boxed{...}."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import lru_cache
from itertools import product
from typing import Any

import sympy.core.random
from math_verify import LatexExtractionConfig, parse, verify
from sympy import Expr

from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.answer import last_boxed
from nemo_prorl.verifiers.screen import too_costly

# Only what stands in a box. math-verify's own alarms are off: the pool's deadline ends what takes too long.
_BOX_ONLY = [LatexExtractionConfig(boxed_match_priority=0, try_extract_without_anchor=False)]
_TINY = 1e-3
_DELIMITERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"))
_PERCENTAGE = re.compile(r"([^%]{1,100}?)\s*\\?%")

logging.getLogger("math_verify").setLevel(logging.CRITICAL)  # it warns that its alarms are off


class MathVerifier:
    r"""Right when the last \boxed{...} equals the reference's "answer": {"answer": "\\frac{1}{2}"}.

    Equal means: the same text, or mathematically equal by math-verify. Text outside of the box is never read.
    """

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        gold = _gold_text(reference)
        parsed_gold = _parsed_gold(gold)
        boxed = last_boxed(text)
        if not boxed:
            return Verdict(0.0, r"no \boxed{...}" if boxed is None else r"an empty \boxed{}", "no_answer")
        answer = _bare(boxed)
        if answer == gold:
            return Verdict(1.0, f"answered {answer[:80]!r}")
        costly = too_costly(answer)
        if costly:
            return Verdict(0.0, f"the boxed answer isn't evaluated: {costly}")
        try:
            right = _equal(parsed_gold, _parse(answer))
        except Exception as error:  # deep nesting or no memory left: the answer's doing, the gold was read before
            return Verdict(0.0, f"the boxed answer can't be evaluated: {type(error).__name__}")
        return Verdict(float(right), f"answered {answer[:80]!r}")


def _gold_text(reference: Mapping[str, Any]) -> str:
    answer = reference.get("answer")
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float)):
        raise VerifierError(
            f"reference.answer is {answer!r}, expected text or a number; drop the problem from the data"
        )
    return _bare(str(answer))


def _bare(expression: str) -> str:
    r"""Without the \boxed{}, $ $, \( \) or ** ** around the whole of it."""
    while True:
        bare = expression.strip()
        box = re.match(r"\\boxed\s*\{", bare)
        if box and last_boxed(bare) == bare[box.end() : -1].strip() and bare.endswith("}"):
            bare = bare[box.end() : -1].strip()
        for opening, closing in _DELIMITERS:
            if len(bare) > len(opening + closing) and bare.startswith(opening) and bare.endswith(closing):
                bare = bare[len(opening) : -len(closing)].strip()
                break
        if bare == expression:
            return bare
        expression = bare


@lru_cache(maxsize=1024)
def _parsed_gold(gold: str) -> tuple[Any, ...]:
    parsed = _parse(gold) if gold else []
    if all(isinstance(meaning, str) for meaning in parsed):
        raise VerifierError(f"reference.answer {gold!r} can't be read as mathematics; drop the problem from the data")
    return tuple(parsed)


def _parse(expression: str) -> list[Any]:
    """What `expression` may mean: sympy's objects and its text; nothing when it can't be read. 5% means 5 or 1/20."""
    percentage = _PERCENTAGE.fullmatch(expression)
    if percentage:
        numbers = [value for value in _parse(percentage[1]) if isinstance(value, Expr) and value.is_number]
        return [*numbers, *(value / 100 for value in numbers), expression]
    return list(parse(f"\\boxed{{{expression}}}", extraction_config=_BOX_ONLY, parsing_timeout=None))


def _equal(golds: tuple[Any, ...], answers: list[Any]) -> bool:
    sympy.core.random.seed(0)  # simplify tries random numbers: the same ones for every verdict
    return any(
        verify(gold, answer, timeout_seconds=None) and not _differ_in_scale(gold, answer)
        for gold, answer in product(golds, answers)
    )


def _differ_in_scale(gold: Any, answer: Any) -> bool:
    """Both numbers nearly 0, yet not the same: rounded to six decimals, as math-verify does, 1/2004! is 1/2006!."""
    if not all(isinstance(value, Expr) and value.is_number for value in (gold, answer)):
        return False
    first, second = gold.evalf(30), answer.evalf(30)
    if not (first.is_Float and second.is_Float) or not 0 < abs(first) < _TINY:
        return False
    return bool(abs(first - second) > _TINY * abs(first))
