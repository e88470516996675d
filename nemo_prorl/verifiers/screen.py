"""What must not reach an algebra system or `eval`, because it would run for hours, or run at all.

The screens are cheap and look at the text alone. They spare a worker's life on what is plainly hostile; what they
let through still has the pool's deadline to face.
"""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Collection

MAX_EXPRESSION_CHARS = 1000
MAX_DEPTH = 50
MAX_EXPONENT = 100_000
MAX_FACTORIAL = 20_000

_POWER = re.compile(r"\^|\*\*")
_OPERAND = re.compile(r"\s*([-+]?(?:\d+|\\[A-Za-z]+|\S)?)")
_SCIENTIFIC = re.compile(r"\d[eE][-+]?\d{5}")
_NAME = re.compile(r"[^\W\d]\w*")
_CLOSING = {"{": "}", "(": ")", "[": "]"}

# Plain algebra: numbers, operators, brackets, and names that are a letter or an elementary function.
_ALGEBRA = re.compile(r"[\w\s+\-*/^().,!]*", re.ASCII)
_FUNCTIONS = frozenset(
    "sin cos tan cot sec csc asin acos atan acot asec acsc sinh cosh tanh coth asinh acosh atanh "
    "exp log ln sqrt cbrt root Abs abs sign pi oo erf Si Ci Ei".split()
)


def too_costly(expression: str) -> str | None:
    """Why `expression`, LaTeX or plain, isn't worth evaluating; None when it is.

    >>> too_costly("9^{9^{9}}")
    'an exponent above 100000'
    >>> too_costly("2^{2005}-1")
    """
    if len(expression) > MAX_EXPRESSION_CHARS:
        return f"{len(expression)} characters, more than {MAX_EXPRESSION_CHARS}"
    if _depth(expression) > MAX_DEPTH:
        return f"brackets nested deeper than {MAX_DEPTH}"
    if "__" in expression:
        return "a double underscore"
    if _SCIENTIFIC.search(expression):
        return "a number with more than 4 digits after its 'e'"
    if any(_bound(_operand_after(expression, power.end())) > MAX_EXPONENT for power in _POWER.finditer(expression)):
        return f"an exponent above {MAX_EXPONENT}"
    if any(_huge_factorial(expression, found.start()) for found in re.finditer("!(?!=)", expression)):
        return f"a factorial above {MAX_FACTORIAL}!"
    return None


def is_plain_algebra(text: str, variables: Collection[str] = ()) -> bool:
    """Whether sympy's parser, which evaluates what it reads as Python, can safely be given `text`.

    Names are single letters, elementary functions or `variables`; there are no attributes, strings or subscripts.
    """
    if not _ALGEBRA.fullmatch(text) or re.search(r"\.\s*[^\W\d]", text):
        return False
    return all(len(name) == 1 or name in _FUNCTIONS or name in variables for name in _NAME.findall(text))


def is_literal(text: str) -> bool:
    """Whether `text` is a Python literal, so that `eval` on it computes nothing."""
    try:
        ast.literal_eval(text)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


def _depth(expression: str) -> int:
    deepest = depth = 0
    for char in expression:
        if char in "{([":
            depth += 1
            deepest = max(deepest, depth)
        elif char in "})]":
            depth = max(0, depth - 1)
    return deepest


def _operand_after(expression: str, position: int) -> str:
    """What a power sign at `position` raises to: a group, a number or a symbol, with the powers it is raised to itself."""
    while position < len(expression) and expression[position].isspace():
        position += 1
    end = _group_end(expression, position) if expression[position : position + 1] in _CLOSING else None
    if end is None:
        matched = _OPERAND.match(expression, position)
        end = matched.end() if matched else position
    chained = _POWER.match(expression, end)
    if chained is None:
        return expression[position:end]
    return expression[position : chained.end()] + _operand_after(expression, chained.end())


def _group_end(expression: str, start: int) -> int | None:
    opening, closing = expression[start], _CLOSING[expression[start]]
    depth = 0
    for position in range(start, len(expression)):
        depth += (expression[position] == opening) - (expression[position] == closing)
        if depth == 0:
            return position + 1
    return None


def _bound(exponent: str) -> float:
    """Roughly how large `exponent` can be: infinite for a tower or a factorial, the product of its numbers otherwise."""
    exponent = _ungrouped(exponent.strip())
    numbers = [int(digits) if len(digits) < 10 else math.inf for digits in re.findall(r"\d+", exponent)]
    tower = re.fullmatch(r"(\d{1,9})\s*(?:\^|\*\*)(.+)", exponent, re.DOTALL)
    if tower:
        return _power(int(tower[1]), _bound(tower[2]))
    if _POWER.search(exponent) or re.search(r"\d\s*!", exponent):
        symbolic = re.search("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", exponent))
        if not symbolic:
            return math.inf
    return math.prod(max(number, 1) for number in numbers)


def _power(base: int, exponent: float) -> float:
    return math.inf if exponent * math.log10(max(base, 1)) > 9 else float(base) ** exponent


def _ungrouped(text: str) -> str:
    while text and text[0] in _CLOSING and _group_end(text, 0) == len(text):
        text = text[1:-1].strip()
    return text


def _huge_factorial(expression: str, position: int) -> bool:
    before = expression[:position].rstrip()
    if before.endswith("\\"):  # \! is a space
        return False
    if before.endswith("!"):  # n!! of a number is read as (n!)! by some
        return bool(re.search(r"\d\s*!+$", before))
    if before.endswith(tuple(_CLOSING.values())):
        group = before[_group_start(before) :]
        numeric = not re.search("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", group))
        return "!" in group or (numeric and bool(_POWER.search(group))) or _largest(group) > MAX_FACTORIAL
    digits = re.search(r"\d+$", before)
    return digits is not None and _largest(digits[0]) > MAX_FACTORIAL


def _group_start(text: str) -> int:
    """Where the group that ends `text` begins; 0 if it never does."""
    depth = 0
    for position in range(len(text) - 1, -1, -1):
        depth += (text[position] in _CLOSING.values()) - (text[position] in _CLOSING)
        if depth == 0:
            return position
    return 0


def _largest(text: str) -> float:
    return max((int(digits) if len(digits) < 10 else math.inf for digits in re.findall(r"\d+", text)), default=0)
