"""What must not reach an algebra system, because it would run for hours.

The screens are cheap and look at the text alone. They spare a worker's life on what is plainly hostile; what they
let through still has the pool's deadline to face.
"""

from __future__ import annotations

import math
import re

MAX_EXPRESSION_CHARS = 1000
MAX_DEPTH = 15  # reading takes a second at 20 braces, and minutes at 40
MAX_EXPONENT = 100_000
MAX_FACTORIAL = 20_000
MAX_TOWER = 20

_POWER = re.compile(r"\^|\*\*")
_OPERAND = re.compile(r"\s*([-+]?(?:\d+|\\[A-Za-z]+|\S)?)")
_SCIENTIFIC = re.compile(r"\d[eE][-+]?\d{5}")
_CLOSING = {"{": "}", "(": ")", "[": "]"}
_DIGITS = "0123456789"


def too_costly(expression: str, max_chars: int = MAX_EXPRESSION_CHARS) -> str | None:
    """Why `expression`, LaTeX or plain, isn't worth evaluating; None when it is.

    >>> too_costly("9^{9^{9}}")
    'an exponent above 100000'
    >>> too_costly("2^{2005}-1")
    """
    if len(expression) > max_chars:
        return f"{len(expression)} characters, more than {max_chars}"
    if depth(expression) > MAX_DEPTH:
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


def depth(expression: str) -> int:
    """How deep brackets are nested in it."""
    deepest = now = 0
    for char in expression:
        if char in "{([":
            now += 1
            deepest = max(deepest, now)
        elif char in "})]":
            now = max(0, now - 1)
    return deepest


def _operand_after(expression: str, position: int) -> str:
    """What a power sign before `position` raises to: a group, a number or a symbol, and what that is raised to."""
    end = _operand_end(expression, position)
    while chained := _POWER.match(expression, end):
        end = _operand_end(expression, chained.end())
    return expression[position:end]


def _operand_end(expression: str, position: int) -> int:
    while position < len(expression) and expression[position].isspace():
        position += 1
    if expression[position : position + 1] in _CLOSING:
        end = _group_end(expression, position)
        if end is not None:
            return end
    matched = _OPERAND.match(expression, position)
    return matched.end() if matched else position


def _group_end(expression: str, start: int) -> int | None:
    opening, closing = expression[start], _CLOSING[expression[start]]
    depth = 0
    for position in range(start, len(expression)):
        depth += (expression[position] == opening) - (expression[position] == closing)
        if depth == 0:
            return position + 1
    return None


def _bound(exponent: str) -> float:
    """Roughly how large `exponent` can be: what a tower of numbers is, else the product of the numbers in it."""
    exponent = _ungrouped(exponent.strip())
    powers = len(_POWER.findall(exponent))
    if powers > MAX_TOWER:
        return math.inf
    tower = re.fullmatch(r"(\d{1,9})\s*(?:\^|\*\*)(.+)", exponent, re.DOTALL)
    if tower:
        return _power(int(tower[1]), _bound(tower[2]))
    if (powers or re.search(r"\d\s*!", exponent)) and not _has_letters(exponent):
        return math.inf
    return math.prod(max(number, 1) for number in _numbers(exponent))


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
        return before.rstrip("!").rstrip()[-1:].isdecimal()
    if before.endswith(tuple(_CLOSING.values())):
        group = before[_group_start(before) :]
        tower = bool(_POWER.search(group)) and not _has_letters(group)
        return "!" in group or tower or _largest(group) > MAX_FACTORIAL
    power = before.rstrip(_DIGITS)
    digits = before[len(power) :]
    return bool(digits) and (power.rstrip().endswith(("^", "**")) or _largest(digits) > MAX_FACTORIAL)


def _group_start(text: str) -> int:
    """Where the group that ends `text` begins; 0 if it never does."""
    depth = 0
    for position in range(len(text) - 1, -1, -1):
        depth += (text[position] in _CLOSING.values()) - (text[position] in _CLOSING)
        if depth == 0:
            return position
    return 0


def _largest(text: str) -> float:
    return max(_numbers(text), default=0)


def _numbers(text: str) -> list[float]:
    return [int(digits) if len(digits) < 10 else math.inf for digits in re.findall(r"\d+", text)]


def _has_letters(text: str) -> bool:
    r"""Whether anything in it is symbolic; commands like \frac aren't."""
    return bool(re.search("[A-Za-z]", re.sub(r"\\[A-Za-z]+", "", text)))
