r"""Short answers in words: equal up to case, articles, punctuation and notation."""

from __future__ import annotations

import re
import unicodedata

from nemo_prorl.verifiers.algebra.text import bare, clean

MAX_TEXT_CHARS = 2000
_WRAPPER = re.compile(r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf)|operatorname|mbox|ce)\s*(?=\{)")
_COMMAND = re.compile(r"\\([A-Za-z]+)\s*")
_DROPPED_COMMANDS = frozenset({"left", "right", "rm", "bf", "it", "displaystyle"})
_ARTICLES = re.compile(r"\b(?:a|an|the)\b\s+(?=\S)", re.IGNORECASE)
_ELEMENTS = (
    "He|Li|Be|Ne|Na|Mg|Al|Si|Cl|Ar|Ca|Sc|Ti|Cr|Mn|Fe|Co|Ni|Cu|Zn|Ga|Ge|As|Se|Br|Kr|Rb|Sr|Zr|Nb|Mo|Tc|Ru|Rh|Pd|Ag|Cd|"
    "In|Sn|Sb|Te|Xe|Cs|Ba|La|Ce|Pr|Nd|Sm|Eu|Gd|Hf|Ta|Re|Os|Ir|Pt|Au|Hg|Tl|Pb|Bi|Po|Rn|Ra|Ac|Th|Pa|Np|Pu|H|B|C|N|O|F|"
    "P|S|K|V|Y|I|W|U"
)
_FORMULA = re.compile(rf"(?:\d*\(?(?:{_ELEMENTS})|\))(?:\(?(?:{_ELEMENTS})|[)\d])*(?:[+-]\d?)?")


def same_text(gold: str, answer: str) -> bool:
    """Whether the two say the same; chemical formulas keep their capitals: Co isn't CO."""
    one, other = plain_text(gold), plain_text(answer)
    if not one or not other:
        return False
    if is_formula(gold) or is_formula(answer):
        return one.replace(" ", "") == other.replace(" ", "")
    one, other = one.casefold(), other.casefold()
    return one == other or one.replace(" ", "") == other.replace(" ", "")


def plain_text(text: str) -> str:
    r"""Without LaTeX, articles and punctuation; Greek letters by their names.

    >>> plain_text(r"\text{The } $\alpha$-decay.")
    'alpha decay'
    """
    if len(text) > MAX_TEXT_CHARS:
        return ""
    text = re.sub(r"\\to(?![A-Za-z])", "->", _WRAPPER.sub(" ", clean(bare(text))))
    text = _COMMAND.sub(lambda found: "" if found[1] in _DROPPED_COMMANDS else f" {found[1]} ", text)
    text = unicodedata.normalize("NFKC", re.sub(r"[_^{}$\\]", "", text))
    text = re.sub(r"(?<=[^\W\d_])\s*[-/](?=[^\W\d_])", " ", text)
    text = re.sub(r"[^\w\s+\-*/=<>%.()]|(?<!\d)\.|\.(?!\d)", " ", text)
    text = re.sub(r"^\((.*)\)$", r"\1", text.strip())
    text = _ARTICLES.sub("", " ".join(text.split()) + " ")
    return " ".join(text.split())


def is_formula(text: str) -> bool:
    """Whether it is a chemical formula, whose letters' case matters: CO_2, NaCl, Fe^{3+}; not a word."""
    plain = plain_text(text).replace(" ", "")
    if not _FORMULA.fullmatch(plain) or not any(map(str.isupper, plain)):
        return False
    return bool(re.search(r"\d|[+-]$", plain)) or sum(map(str.isupper, plain)) > 1
