r"""Answers as texts: without what changes nothing in their meaning (\left, thin spaces, $, \dfrac for \frac, ...)."""

# ruff: noqa: RUF001 - it is about characters that look like others
from __future__ import annotations

import re
import unicodedata

from nemo_prorl.data.boxed import last_boxed

_WRAPPERS = (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]"), ("**", "**"), ("`", "`"))

_UNICODE = {
    **dict.fromkeys("×⋅·∙•⨯∗", r"\cdot "),
    **dict.fromkeys("−–—‒﹣‑", "-"),
    **dict.fromkeys("÷∕⁄", "/"),
    **dict.fromkeys("≤⩽", "<="),
    **dict.fromkeys("≥⩾", ">="),
    **dict.fromkeys("≈≃", r"\approx "),
    **dict.fromkeys("°º", r"^\circ "),
    **dict.fromkeys("′’", "'"),
    **dict.fromkeys("ϕφ", r"\phi "),
    **dict.fromkeys("µμ", r"\mu "),
    **dict.fromkeys("∆Δ", r"\Delta "),
    **dict.fromkeys("ς", r"\sigma "),
    **dict.fromkeys("∶", ":"),
    **dict.fromkeys("…", "..."),
    **dict.fromkeys("、", ","),
    **dict.fromkeys("≠", "!="),
    **dict.fromkeys("∛", r"\sqrt[3]"),
    **{char: f"\\mathbb{{{letter}}}" for char, letter in zip("ℝℤℕℚℂ", "RZNQC", strict=True)},
}
_COMMANDS = (
    "√sqrt ∞infty ±pm ∓mp ≡equiv ∪cup ∩cap ∈in ∖setminus ∅emptyset ∀forall →to ⟨langle ⟩rangle ⌊lfloor ⌋rfloor "
    "⌈lceil ⌉rceil ħhbar ℓell ∑sum ∏prod ∫int αalpha βbeta γgamma δdelta εepsilon ζzeta ηeta θtheta ιiota "
    "κkappa λlambda νnu ξxi πpi ρrho σsigma τtau υupsilon χchi ψpsi ωomega ΓGamma ΘTheta ΛLambda ΞXi ΠPi ΣSigma ΦPhi "
    "ΨPsi ΩOmega"
)
_UNICODE |= {pair[0]: f"\\{pair[1:]} " for pair in _COMMANDS.split()}
_TRANSLATION = str.maketrans(_UNICODE)
_SUPERSCRIPTS = str.maketrans("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ", "0123456789+-n")
_SUBSCRIPTS = str.maketrans("₀₁₂₃₄₅₆₇₈₉", "0123456789")

_SIZES = r"left|right|big[lrm]?|Big[lrm]?|bigg[lrm]?|Bigg[lrm]?"
_COSMETIC = re.compile(
    rf"\\(?:{_SIZES})(?![A-Za-z])\s*\.?(?![0-9])"
    r"|\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits|strut|mathstrut|allowbreak|nobreak|boldmath)(?![A-Za-z])"
    r"|\\[hv]?phantom\{[^{}]*\}"
)
_SPACING = re.compile(
    r"(?<!\\)\\(?:[,;:! ]|q?quad(?![A-Za-z])|enspace(?![A-Za-z])|thinspace(?![A-Za-z])|hspace\{[^{}]*\})|~|\s+"
)
_GROUPED_DIGITS = re.compile(r"(?<=\d)(?:\{,\}|\s*,\s*\\!|\\[,! ]|\{\\,\}|\\thinspace)\s*(?=\d{3}(?!\d))")
_CURRENCY = re.compile(r"\\?\$|[£€¥]|\\(?:pounds|euro|textdollar)(?![A-Za-z])")
_ONE_NAME_FOR = (
    (re.compile(r"\\(math(?:bb|cal|rm|bf|it|sf|frak))\s*([A-Za-z])(?![A-Za-z{])"), r"\\\1{\2}"),
    (re.compile(r"\\(?:underline|fbox|(?:text)?color\s*\{[a-z]+\})\s*(?=\{)|\\(?:bf|it|rm)(?![A-Za-z])"), ""),
    (re.compile(r"\\p?mod\s*(\d+|[a-z])(?![A-Za-z])"), r"\\pmod{\1}"),
    (re.compile(r"\\(?:mid|vert)(?![A-Za-z])"), "|"),
    (re.compile(r"\\(?:rightarrow|longrightarrow)(?![A-Za-z])"), r"\\to"),
    (re.compile(r"\\[lc]?dots[bc]?(?![A-Za-z])"), "..."),
    (re.compile(r"\\colon(?![A-Za-z])"), ":"),
    (re.compile(r"\\land(?![A-Za-z])"), r"\\wedge"),
    (re.compile(r"\\lor(?![A-Za-z])"), r"\\vee"),
    (re.compile(r"\\[dtc]frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(r"\\[dt]binom(?![A-Za-z])"), r"\\binom"),
    (re.compile(r"\\([%#&])"), r"\1"),
)
_LEAD_IN = re.compile(r"\s*(?:the\s+)?(?:final\s+)?answer\s*(?:is|:|=)?\s*:?\s*(?=[\w\\({\[+-])", re.IGNORECASE)
_WORD = re.compile("[A-Za-z]{3}")
_TEXT_GROUP = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mbox|mathrm|mathbf|mathit|mathsf|operatorname)\s*\{([^{}]*)\}"
)


def bare(expression: str) -> str:
    r"""Without the \boxed{}, $ $, \( \) or ** ** around the whole of it.

    >>> bare(r"$\boxed{ 3 }$")
    '3'
    """
    while True:
        inner = expression.strip()
        box = re.match(r"\\boxed\s*\{", inner)
        if box and inner.endswith("}") and last_boxed(inner) == inner[box.end() : -1].strip():
            inner = inner[box.end() : -1].strip()
        for opening, closing in _WRAPPERS:
            wrapped = len(inner) > len(opening + closing) and inner.startswith(opening) and inner.endswith(closing)
            if wrapped and opening not in inner[len(opening) : -len(closing)]:
                inner = inner[len(opening) : -len(closing)].strip()
                break
        if inner == expression:
            return inner
        expression = inner


def clean(expression: str) -> str:
    r"""The same answer in plainer LaTeX: one name for each thing, single spaces, digits without thousands separators.

    >>> clean(r"\left(\dfrac{1}{2},\; 14{,}916\right)")
    '(\\frac{1}{2}, 14916)'
    """
    if not expression.isascii():
        expression = _ascii(expression)
    if "\\" in expression or "$" in expression or "~" in expression or "{,}" in expression:
        expression = _COSMETIC.sub("", expression)
        expression = _GROUPED_DIGITS.sub("", expression)
        for pattern, name in _ONE_NAME_FOR:
            expression = pattern.sub(name, expression)
        expression = _CURRENCY.sub("", expression)
    expression = _SPACING.sub(" ", expression).strip()
    expression = _LEAD_IN.sub("", expression, count=1) if "nswer" in expression[:30].lower() else expression
    return re.sub(r"(?:[,;\s]|(?<!\.)\.)+$", "", expression)


def normal(cleaned: str) -> str:
    r"""A form in which equal texts are the same answer: no spaces, no \text{}, words in lower case.

    >>> normal(r"\text{Monday}") == normal("monday")
    True
    """
    text = _TEXT_GROUP.sub(r"\1", cleaned)
    text = re.sub(r"\\(?:frac|sqrt)\s*", lambda command: command[0].rstrip(), text)
    text = re.sub(r"(?<=[_^])\{([A-Za-z0-9])\}(?![A-Za-z0-9])", r"\1", text)
    text = re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)  # 11 5/6 isn't 115/6
    lettered = re.fullmatch(r"\(([A-Za-z])\)", text)
    if lettered:
        return lettered[1]
    return text.lower() if _WORD.search(text) and not re.search(r"[\\^_=+*/<>]", text) else text


def is_word(normalised: str) -> bool:
    """Whether it is letters alone, three or more: the same word or another, never a product of letters."""
    return len(normalised) > 2 and normalised.isalpha()


def _ascii(expression: str) -> str:
    expression = re.sub("[⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿ]+", lambda run: f"^{{{run[0].translate(_SUPERSCRIPTS)}}}", expression)
    expression = re.sub("[₀-₉]+", lambda run: f"_{{{run[0].translate(_SUBSCRIPTS)}}}", expression)
    expression = re.sub("[¼-¾⅐-⅞]", lambda char: " " + unicodedata.normalize("NFKC", char[0]), expression)
    expression = expression.translate(_TRANSLATION)
    expression = unicodedata.normalize("NFKC", expression).translate(_TRANSLATION)
    return "".join(char for char in expression if unicodedata.category(char) != "Cf")
