r"""Science questions with a short answer in the last \boxed{...}: a choice, a number, an expression or words."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

from nemo_prorl.data.boxed import last_boxed
from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.algebra.reading import readings
from nemo_prorl.verifiers.algebra.text import bare, clean
from nemo_prorl.verifiers.algebra.tree import Apply, Labelled, Opaque, Symbol, Words, walk
from nemo_prorl.verifiers.answer import after_reasoning
from nemo_prorl.verifiers.math import MathVerifier, judge, read_gold
from nemo_prorl.verifiers.screen import MAX_EXPRESSION_CHARS
from nemo_prorl.verifiers.stem_choice import LABELS, labels_in, same_choice
from nemo_prorl.verifiers.stem_number import Quantity, read_quantity, same_quantity
from nemo_prorl.verifiers.stem_text import is_formula, plain_text, same_text

Kind = Literal["choice", "number", "expression", "text"]
KINDS: tuple[str, ...] = get_args(Kind)
# A word, a hybrid orbital such as sp3, an electron configuration.
_NO_EXPRESSION = re.compile(r"[A-Za-z]+\d*|(?:\[\S+\])?\s*(?:[1-7][spdf]\^?\{?\d{1,2}\}?\s*)+")
_DROP = "repair the row, or drop the problem from the data"


class StemVerifier:
    r"""Right, 1.0, or wrong, 0.0, by the last \boxed{...} after the reasoning. The reference:

        {"answer": "B", "options": ["5 N", "10 N", "20 N"]}
        {"answer": "9.81", "unit": "m/s^2", "rel_tolerance": 0.02}
        {"answer": "\\frac{mv^2}{r}", "kind": "expression"}

    `kind` is choice, number, expression or text; where it is missing it is inferred: a choice if there are options or
    the answer is one letter from A to J, else a number if it can be read as one, else an expression, else text.

    - choice: `answer` is a letter, several ("A, C"), or an option's text. `options` is a list, lettered from A, or
      {"A": ..., ...}. Right: the letter in any dress, B, (B), b., \text{B}, "B. 10 N", or the text of that option and
      of no other. A or B is wrong.
    - number: in any notation, with the unit in `answer` or `unit`. If both sides have a unit the answer is converted,
      and units of different things are wrong. If one has none, the numbers alone count: a reference without a unit
      doesn't ask for one, and an answer without one is taken to be in the reference's. `rel_tolerance` is what the
      answer may be off, relatively; without it the digits of the reference decide (`stem_number.tolerance`).
    - expression: as in mathematics (`MathVerifier`).
    - text: equal up to case, articles, punctuation, Unicode and Greek letters' names; no part of it is enough.

    "thinking": true, for prompts that end with <think>: a text without </think> answers nothing.
    """

    @staticmethod
    def warm_up() -> None:
        MathVerifier.warm_up()

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        task = read_task(reference)
        answer = after_reasoning(text, begun=bool(reference.get("thinking")))
        if answer is None:
            return Verdict(0.0, "the reasoning never ends", "no_answer")
        boxed = last_boxed(answer)
        if not boxed:
            return Verdict(0.0, r"no \boxed{...}" if boxed is None else r"an empty \boxed{}", "no_answer")
        if len(boxed) > MAX_EXPRESSION_CHARS:
            return Verdict(0.0, f"{len(boxed)} characters in the box; at most {MAX_EXPRESSION_CHARS} are read")
        return Verdict(float(is_right(task, boxed)), f"answered {boxed[:80]!r}, a {task.kind}")


@dataclass(frozen=True)
class Task:
    """A reference, read once. `labels` are those of a choice, `quantity` is that of a number."""

    kind: str
    answer: str
    options: tuple[tuple[str, str], ...] = ()
    labels: frozenset[str] = frozenset()
    quantity: Quantity | None = None
    rel_tolerance: float | None = None


def is_right(task: Task, boxed: str) -> bool:
    """Whether what stands in the box answers the task."""
    if task.kind == "choice":
        return same_choice(task.labels, dict(task.options), boxed, _same_option)
    if task.quantity is not None:
        answer = read_quantity(boxed)
        return answer is not None and same_quantity(task.quantity, answer, task.rel_tolerance)
    if task.kind == "expression":
        return judge(read_gold(task.answer), boxed)[0]
    return same_text(task.answer, boxed)


def read_task(reference: Mapping[str, Any]) -> Task:
    """The reference, checked.

    Raises:
        VerifierError: it can't be answered: no answer, an unknown kind, a number that is none, a letter without option.
    """
    answer, kind, unit = (reference.get(key) for key in ("answer", "kind", "unit"))
    if isinstance(answer, bool) or not isinstance(answer, (str, int, float)) or not bare(str(answer)):
        raise VerifierError(f"reference.answer is {answer!r}, expected a text or a number that isn't empty; {_DROP}")
    if kind is not None and kind not in KINDS:
        raise VerifierError(f"reference.kind is {kind!r}, expected one of {', '.join(KINDS)}; {_DROP}")
    if unit is not None and not isinstance(unit, str):
        raise VerifierError(f"reference.unit is {unit!r}, expected a text; {_DROP}")
    return _task(str(answer), kind, _options(reference.get("options")), unit or "", _tolerance(reference))


def _options(options: Any) -> tuple[tuple[str, str], ...]:
    if options is None:
        return ()
    if isinstance(options, list) and 1 < len(options) <= len(LABELS):
        options = dict(zip(LABELS, options, strict=False))
    if not isinstance(options, Mapping) or not all(
        isinstance(key, str) and len(key) == 1 and isinstance(value, (str, int, float))
        for key, value in options.items()
    ):
        raise VerifierError(
            f"reference.options is {str(options)[:100]!r}, expected a list of 2 to {len(LABELS)} texts or "
            f"{{'A': text, ...}}; {_DROP}"
        )
    return tuple((key.upper(), str(value)) for key, value in options.items())


def _tolerance(reference: Mapping[str, Any]) -> float | None:
    given = reference.get("rel_tolerance")
    if given is None:
        return None
    if isinstance(given, bool) or not isinstance(given, (int, float)) or not 0 <= given < 1:
        raise VerifierError(f"reference.rel_tolerance is {given!r}, expected a number in [0, 1); {_DROP}")
    return float(given)


@lru_cache(maxsize=4096)
def _task(
    answer: str, kind: str | None, options: tuple[tuple[str, str], ...], unit: str, rel_tolerance: float | None
) -> Task:
    kind = kind or _infer(answer, bool(options))
    if kind == "choice":
        return Task(kind, answer, options, _gold_labels(answer, options))
    if kind == "number":
        quantity = read_quantity(answer)
        if quantity is None:
            raise VerifierError(f"reference.answer {answer!r} can't be read as a number; {_DROP}")
        if unit:
            quantity = Quantity(quantity.value, unit, quantity.digits, quantity.last_place, quantity.spread)
        return Task(kind, answer, quantity=quantity, rel_tolerance=rel_tolerance)
    if kind == "expression":
        read_gold(answer)
    elif not plain_text(answer):
        raise VerifierError(f"reference.answer {answer!r} has no text to compare with; {_DROP}")
    return Task(kind, answer)


def _gold_labels(answer: str, options: tuple[tuple[str, str], ...]) -> frozenset[str]:
    known = {label for label, _ in options}
    labels = labels_in(answer)
    if labels and (not options or labels <= known):
        return labels
    matching = [label for label, option in options if _same_option(option, answer)]
    if len(matching) != 1:
        raise VerifierError(
            f"reference.answer {answer!r} names none of the options {', '.join(sorted(known)) or '(there are none)'}, "
            f"and is the text of {len(matching)} of them; {_DROP}"
        )
    return frozenset(matching)


def _infer(answer: str, has_options: bool) -> str:
    text = clean(bare(answer))
    if has_options or re.fullmatch(r"\(?(?:\\text\{)?\(?[A-J]\)?\}?\)?", text):
        return "choice"
    if read_quantity(answer) is not None:
        return "number"
    nodes = [part for reading in readings(text) for part in (walk(reading.node) if reading.node is not None else ())]
    unread = not nodes or any(isinstance(node, (Opaque, Words)) for node in nodes)
    if unread or is_formula(answer) or _NO_EXPRESSION.fullmatch(text):
        return "text"
    value = nodes[0].value if isinstance(nodes[0], Labelled) else nodes[0]  # alpha decay, the cell wall
    letters = value.arguments if isinstance(value, Apply) and value.operation == "*" else (value,)
    if all(isinstance(letter, Symbol) for letter in letters) and (isinstance(nodes[0], Labelled) or len(letters) == 1):
        return "text"
    return "expression"


@lru_cache(maxsize=4096)
def _same_option(option: str, text: str) -> bool:
    """As numbers, as words, or as expressions."""
    if same_text(option, text):
        return True
    one, other = read_quantity(option), read_quantity(text)
    if one is not None and other is not None:
        return same_quantity(one, other, 1e-6)
    if _infer(option, has_options=False) != "expression":
        return False
    try:
        return judge(read_gold(option), text)[0]
    except VerifierError:  # an option that nobody can read is no other's text
        return False
