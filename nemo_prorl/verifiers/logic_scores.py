"""Stricter scores for the tasks whose own scorer in reasoning-gym 0.1.25 pays for answers that solve nothing."""

from __future__ import annotations

import cmath
import json
import math
import re
from collections.abc import Callable, Mapping
from fractions import Fraction
from typing import Any

from reasoning_gym.dataset import ProceduralDataset

from nemo_prorl.verifiers.screen import too_costly

Scorer = Callable[[ProceduralDataset, str, Mapping[str, Any]], float]


def upstream(task: ProceduralDataset, answer: str, entry: Mapping[str, Any]) -> float:
    """What reasoning-gym itself gives."""
    return float(task.score_answer(answer, entry))


def game_of_life_halting(task: ProceduralDataset, answer: str, entry: Mapping[str, Any]) -> float:
    """The same truth value, in words. Upstream compares bool("False") with bool("True"): any text but "" gets 1."""
    return float(answer.strip().lower() == str(entry["answer"]).strip().lower())


def complex_arithmetic(task: Any, answer: str, entry: Mapping[str, Any]) -> float:
    """Upstream gives exp(-distance), and 1 when the answer is "nan"."""
    number = task.parse_string_to_complex(answer)
    return upstream(task, answer, entry) if number is not None and cmath.isfinite(number) else 0.0


def number_sorting(task: ProceduralDataset, answer: str, entry: Mapping[str, Any]) -> float:
    """Upstream gives 1 for as many "nan" as there are numbers: they are sorted, and as near to these as to any."""
    try:
        numbers = [float(number) for number in json.loads(answer.replace("'", '"'))]
    except (ValueError, TypeError, RecursionError, OverflowError):
        return 0.0
    return upstream(task, answer, entry) if all(map(math.isfinite, numbers)) else 0.0


def coin_flip(task: ProceduralDataset, answer: str, entry: Mapping[str, Any]) -> float:
    """Upstream pays the share of leading characters that agree, of the shorter number: "0" gets 1 for 0.9375.

    Here the share is that of the longer one. Nor is 1e999999999 computed, digit by digit.
    """
    if too_costly(re.sub("[,_]", "", answer)):
        return 0.0
    score = upstream(task, answer, entry)
    if score == 0:
        return 0.0
    found, wanted = (float(Fraction(text.replace(",", ""))) for text in (answer, str(entry["answer"])))
    if abs(found - wanted) <= 1e-4:
        return score
    lengths = sorted(len(f"{number:.10g}") for number in (found, wanted))
    return score * lengths[0] / lengths[1]


def puzzle24(task: ProceduralDataset, answer: str, entry: Mapping[str, Any]) -> float:
    """Upstream takes any four numbers: 6 * 4 * 1 * 1 would solve every puzzle."""
    numbers = entry["metadata"].get("numbers")
    score = upstream(task, answer, entry)
    if numbers is None or sorted(map(int, re.findall(r"\b\d+\b", answer))) == sorted(numbers):
        return score
    return min(score, 0.01)


STRICT: dict[str, Scorer] = {
    "coin_flip": coin_flip,
    "complex_arithmetic": complex_arithmetic,
    "game_of_life_halting": game_of_life_halting,
    "number_sorting": number_sorting,
    "puzzle24": puzzle24,
}
