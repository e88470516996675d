r"""Cuts a cleaned answer into tokens. LaTeX and plain text are one language here: \pi, pi and sqrt(2) all mean it."""

from __future__ import annotations

import re
from typing import NamedTuple

from nemo_prorl.verifiers.units import is_unit

_FUNCTION_NAMES = (
    "sin cos tan cot sec csc arcsin arccos arctan arccot sinh cosh tanh coth asin acos atan log ln lg exp sqrt cbrt "
    "abs floor ceil max min gcd lcm"
)
_GREEK_NAMES = (
    "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau phi "
    "varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega hbar ell"
)
FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
SCALES = {"hundred": 2, "thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_GREEK = frozenset(_GREEK_NAMES.split())
_CONSTANTS = {"pi": r"\pi", **dict.fromkeys(("infinity", "infty", "inf", "oo"), r"\infty")}
_PERCENT = frozenset({"percent", "percentage", "pct"})
_JOINERS = {"and": "and", "or": "or", "&": "and"}
_RELATIONS = {
    **dict.fromkeys(("=", "=="), "="),
    **dict.fromkeys(("<", r"\lt"), "<"),
    **dict.fromkeys((">", r"\gt"), ">"),
    **dict.fromkeys(("<=", r"\le", r"\leq", r"\leqslant"), "<="),
    **dict.fromkeys((">=", r"\ge", r"\geq", r"\geqslant"), ">="),
    **dict.fromkeys(("!=", r"\ne", r"\neq"), "!="),
    **dict.fromkeys((r"\approx", r"\simeq", r"\sim", r"\doteq"), "~"),
    r"\in": "in",
}
_OPERATORS = {**dict.fromkeys((r"\cdot", r"\times", r"\ast"), "*"), r"\div": "/", "**": "^"}
_BRACKETS = {
    **{char: ("open", char) for char in "([{"},
    **{char: ("close", char) for char in ")]}"},
    **dict.fromkeys((r"\{", r"\lbrace"), ("open", "set")),
    **dict.fromkeys((r"\}", r"\rbrace"), ("close", "set")),
    **dict.fromkeys(("|", r"\lvert", r"\rvert", r"\vert"), ("bar", "|")),
    r"\langle": ("open", "<"),
    r"\rangle": ("close", ">"),
    r"\lbrack": ("open", "["),
    r"\rbrack": ("close", "]"),
    r"\lfloor": ("open", "floor"),
    r"\rfloor": ("close", "floor"),
    r"\lceil": ("open", "ceil"),
    r"\rceil": ("close", "ceil"),
}
_UNMISTAKABLE_UNITS = frozenset(
    {"cm", "mm", "km", "kg", "ft", "lbs", "mph", "hr", "hrs", "sec", "min", "mL", "ml", "kPa", "kJ", "Hz", "kHz"}
)
_AFTER_UNIT = re.compile(r"\s*(?:$|[,;=)^/.]|\\\\|\\text|(?:and|or|per)\b)")
_WRITTEN_AS_TEXT = frozenset(
    rf"\{name}"
    for name in (
        *("text", "textbf", "textit", "textrm", "textnormal", "textsf", "texttt"),
        *("mbox", "mathrm", "mathbf", "mathit", "mathsf", "operatorname"),
    )
)
_DECORATIONS = frozenset(
    rf"\{name}"
    for name in ("mathbb", "mathcal", "mathscr", "mathfrak", "vec", "hat", "bar", "overline", "tilde", "boldsymbol")
)

_DIGITS = r"\d+(?:\.\d+)?(?:[eE][+-]?\d{1,4})(?![\w.])|\d+\.\d*\\(?:overline|bar|dot)\s*\{\d+\}|\d*\.\d+|\d+"
_THOUSANDS = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?(?![\d,.])|\d{1,3}(?: \d{3})+(?:\.\d+)?(?![\d.]| ?/)"
_OTHERS = (
    r"|(?P<word>[A-Za-z]+)|(?P<command>\\[A-Za-z]+)|(?P<space>\s+)"
    r"|(?P<sign>\\[\\{}|%]|\*\*|<=|>=|!=(?!=)|==|[-+*/^_!'%|:=<>,;&()\[\]{}])|(?P<other>.)"
)
_TOKEN = re.compile(rf"(?P<number>{_DIGITS}){_OTHERS}", re.DOTALL | re.ASCII)
_TOKEN_WITH_THOUSANDS = re.compile(rf"(?P<number>{_THOUSANDS}|{_DIGITS}){_OTHERS}", re.DOTALL | re.ASCII)
_GROUP = re.compile(r"\s*\{([^{}]*)\}")
HAS_THOUSANDS = re.compile(r"\d,\d{3}(?!\d)|\d \d{3}(?!\d)", re.ASCII)


class Token(NamedTuple):
    """`kind`: number, name, function, command, words, scale, operator, open, close, bar, relation, separator, other."""

    kind: str
    text: str
    spaced: bool = False  # white space stands before it


def tokenize(cleaned: str, *, thousands: bool) -> list[Token]:
    """The tokens of a cleaned answer. `thousands`: outside of brackets 1,250 is a number, not two."""
    tokens: list[Token] = []
    depth = position = environments = 0
    spaced = False
    while position < len(cleaned):
        found = (_TOKEN_WITH_THOUSANDS if thousands and depth == 0 else _TOKEN).match(cleaned, position)
        if found is None:  # the last alternative takes anything
            break
        position = found.end()
        if found.lastgroup == "space":
            spaced = True
            continue
        new, position = _read(found, cleaned, tokens, spaced)
        for kind, text in new:
            environments += (text == r"\begin") - (text == r"\end")
            if text == r"\\" and not environments:  # a new line is a new item
                kind, text = "separator", ","
            tokens.append(Token(kind, text, spaced))
            depth += (kind == "open") - (kind == "close")
            spaced = False
    return tokens


def _read(found: re.Match[str], cleaned: str, before: list[Token], spaced: bool) -> tuple[list[tuple[str, str]], int]:
    """What was found, as (kind, text), and where it ends."""
    kind, text, end = str(found.lastgroup), found[0], found.end()
    after_number = bool(before) and (before[-1].kind in ("number", "close", "scale") or before[-1].text == r"\pi")
    if kind == "number":
        return [("number", text)], end
    if kind == "word":
        apart = spaced or text in _UNMISTAKABLE_UNITS  # 2 ha is an area, 2ha a product
        return _word(text, after_number and apart and _AFTER_UNIT.match(cleaned, end) is not None), end
    if kind == "command" and text in _WRITTEN_AS_TEXT | _DECORATIONS:
        group = _GROUP.match(cleaned, end)
        if group is None:
            return [("other", text)], end
        if text in _DECORATIONS:
            return [("name", f"{text}{{{group[1].strip()}}}")], group.end()
        if text == r"\operatorname" and group[1].strip() not in FUNCTIONS:
            return [("other", group[1])], group.end()
        return _text(group[1], after_number), group.end()
    return [_sign(text, kind)], end


def _sign(text: str, kind: str) -> tuple[str, str]:
    if text in _RELATIONS:
        return "relation", _RELATIONS[text]
    if text in _BRACKETS:
        return _BRACKETS[text]
    if text in (",", ";"):
        return "separator", text
    if text in "+-*/^_!'%:&" or text in _OPERATORS or text == r"\\":
        return "operator", _OPERATORS.get(text, text)
    if kind == "command":
        name = text[1:]
        if name in FUNCTIONS and name != "sqrt":  # which has arguments of its own kind
            return "function", name
        return ("name", text) if name in _GREEK else ("command", text)
    return "other", text


def _word(word: str, may_be_unit: bool) -> list[tuple[str, str]]:
    lower = word.lower()
    if lower in _JOINERS:
        return [("separator", _JOINERS[lower])]
    if lower in _PERCENT:
        return [("operator", "%")]
    if lower in SCALES:
        return [("scale", lower)]
    if may_be_unit and len(word) > 1 and is_unit(word) and word not in ("pi", "xi"):
        return [("words", word)]
    if word in FUNCTIONS or word == "binom":
        return [("function", word)]
    if lower in _CONSTANTS:
        return [("command", _CONSTANTS[lower])]
    if word in _GREEK:
        return [("name", f"\\{word}")]
    if word[:-1] in FUNCTIONS:
        return [("function", word[:-1]), ("name", word[-1])]
    if len(word) <= 3:
        return [("name", letter) for letter in word]
    return [("words", word)]


def _text(content: str, after_number: bool) -> list[tuple[str, str]]:
    r"""The inside of \text{} and the like: a joiner, a unit, words; or mathematics in upright letters."""
    stripped = content.strip()
    joiner = stripped.strip(", ").lower()
    if joiner in _JOINERS:
        return [("separator", _JOINERS[joiner])]
    if stripped == ",":
        return [("separator", ",")]
    if joiner in _PERCENT or joiner in SCALES or stripped in FUNCTIONS:
        return _word(stripped.strip(", "), after_number)
    if after_number and is_unit(stripped):
        return [("words", stripped)]
    if any(len(word) > 1 and word.lower() not in _JOINERS for word in re.findall("[A-Za-z]+", stripped)):
        return [("words", stripped)]
    return [(token.kind, token.text) for token in tokenize(stripped, thousands=True)]
