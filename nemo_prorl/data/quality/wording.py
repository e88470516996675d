"""A question as its words, so that two can be compared however they are spaced, capitalised or typeset."""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.data.prompt import Row

_TOKEN = re.compile(r"\\[a-z]+|[^\W\d_]+|\d+(?:\.\d+)?|[^\w\s]")
# Typesetting that changes nothing about what is asked.
_TYPESETTING = frozenset(
    ["$", "{", "}", "\\", "`", *(f"\\{name}" for name in ("left", "right", "quad", "text", "mathrm", "displaystyle"))]
)
_OPERATORS = frozenset("+-*/^=<>%!≤≥≠")
_SAME = {"\\dfrac": "\\frac", "\\tfrac": "\\frac", "\\leq": "≤", "\\le": "≤", "\\geq": "≥", "\\ge": "≥", "\\neq": "≠"}


def question_of(row: Row) -> str:
    """What the user asks, with whatever instruction follows it."""
    return "\n".join(message["content"] for message in row.messages if message["role"] == "user")


def tokens_of(text: str) -> list[str]:
    r"""Words, numbers, LaTeX commands and signs, in order, without typesetting.

    >>> tokens_of(r"Find $\dfrac{x}{2}$ + 1.50!")
    ['find', '\\frac', 'x', '2', '+', '1.50', '!']
    """
    found = (_SAME.get(token, token) for token in _TOKEN.findall(text.casefold()))
    return [token for token in found if token not in _TYPESETTING]


def words_of(text: str) -> list[str]:
    """Words and numbers alone: what n-grams are made of.

    >>> words_of("Find x, if x + 1 = 2.")
    ['find', 'x', 'if', 'x', '1', '2']
    """
    return [token for token in tokens_of(text) if token[0].isalnum() or len(token) > 1]


def figures_of(tokens: Sequence[str]) -> tuple[str, ...]:
    """Numbers and operators, sorted. Where they differ, two questions that read alike are different problems.

    >>> figures_of(tokens_of("3 + 4 = ?"))
    ('+', '3', '4', '=')
    """
    return tuple(sorted(token for token in tokens if token[0].isdigit() or token in _OPERATORS))


def shingles_of(tokens: Sequence[str], size: int) -> NDArray[np.uint32]:
    """Hashes of all runs of `size` tokens, each once, ascending; of a shorter text, of the whole."""
    runs = zip(*(tokens[i:] for i in range(min(size, max(len(tokens), 1)))), strict=False)
    return np.unique(np.fromiter((zlib.crc32("\x1f".join(run).encode()) for run in runs), np.uint32))


def jaccard(one: NDArray[np.uint32], other: NDArray[np.uint32]) -> float:
    """What two sets share, as a part of what they have together."""
    shared = len(np.intersect1d(one, other, assume_unique=True))
    together = len(one) + len(other) - shared
    return shared / together if together else 1.0
