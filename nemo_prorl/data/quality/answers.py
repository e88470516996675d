r"""References that no response can be judged by: missing, unreadable, or at odds with their own verifier."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from nemo_prorl.data.prompt import Row
from nemo_prorl.data.quality.asking import Asked, Question
from nemo_prorl.data.trajectory import Verdict

Judge = Callable[[Row, str], Verdict]
_SOLUTIONS = ("canonical_solution", "solution", "code")


class Verifiable:
    """Rejects a row without an answer, and one whose verifier can't read the reference.

    `objection` says why no response to a row can be judged, and None where one can. An answer in words of more than
    `max_answer_chars` characters is one that no response repeats.
    """

    name = "answers"

    def __init__(self, objection: Question, *, max_answer_chars: int = 300, threads: int = 4) -> None:
        self._asked, self._max_answer_chars = Asked(objection, threads), max_answer_chars

    def prepare(self, rows: Iterable[Row]) -> None:
        self._asked.ask_all(row for row in rows if self._at_sight(row) is None)

    def judge(self, row: Row) -> str | None:
        if (wrong := self._at_sight(row)) is not None:
            return wrong
        objection = self._asked.about(row)
        return None if objection is None else f"not verifiable: {objection}"

    def _at_sight(self, row: Row) -> str | None:
        if not any(map(_says_something, row.reference.values())):
            return "no answer: the reference is empty"
        if row.domain in ("math", "stem"):
            answer = row.reference.get("answer")
            if not _says_something(answer):
                return f"no answer: {answer!r}"
            if len(str(answer)) > self._max_answer_chars:
                return f"not a short answer: {len(str(answer))} characters"
        return None


class OwnReference:
    """Rejects a row whose verifier doesn't accept the reference's own answer or solution.

    `judge_response` judges a response to a row. Rows whose reference can't be made a response are kept: see
    `right_response`.
    """

    name = "own reference"

    def __init__(self, judge_response: Judge, *, threads: int = 4) -> None:
        self._judge_response = judge_response
        self._asked = Asked(self._question, threads)

    def prepare(self, rows: Iterable[Row]) -> None:
        self._asked.ask_all(rows)

    def judge(self, row: Row) -> str | None:
        return self._asked.about(row)

    def _question(self, row: Row) -> str | None:
        response = right_response(row)
        if response is None:
            return None
        verdict = self._judge_response(row, response)
        if verdict.reward >= 1.0:
            return None
        if verdict.outcome in ("timeout", "error"):
            return f"its verifier fails on its own answer: {verdict.outcome}, {verdict.reason}"
        return f"fails its own verifier: reward {verdict.reward:g}, {verdict.reason}"


def right_response(row: Row) -> str | None:
    r"""A response that must be right if the reference is; None where the reference doesn't hold one.

    math and stem: the answer in \boxed{}, with its unit; logic: the entry's answer in its tags, or graph_color's own
    colouring; code: the reference's own solution, fenced. An instruction's reference says what to look for, not what to
    write.

    >>> right_response(Row("u", "math", "t", "s", (), "math", {"answer": "1/2"}))
    '\\boxed{1/2}'
    """
    reference = row.reference
    if row.domain in ("math", "stem"):
        unit = reference.get("unit") or ""
        return rf"\boxed{{{reference.get('answer')}{f' {unit}' if unit else ''}}}"
    if row.domain == "logic":
        answer = _puzzle_answer(reference)
        return None if answer is None else f"<answer>{answer}</answer>"
    if row.domain == "code":
        program = _solution(reference) or _solution(row.metadata)
        return None if program is None else f"```python\n{program}\n```"
    return None


def _puzzle_answer(reference: Mapping[str, Any]) -> str | None:
    entry = reference.get("entry")
    if not isinstance(entry, Mapping):
        return None
    answer = entry.get("answer")
    if answer is None and isinstance(entry.get("metadata"), Mapping):
        answer = entry["metadata"].get("possible_answer")
    if isinstance(answer, Mapping):
        answer = "{" + ", ".join(f'"{key}": {value}' for key, value in answer.items()) + "}"
    return answer if isinstance(answer, str) else None


def _solution(fields: Mapping[str, Any]) -> str | None:
    """Python that solves the problem; EvalPlus has the function's body, which its prompt begins."""
    for name in _SOLUTIONS:
        program = fields.get(name)
        if isinstance(program, str) and program.strip():
            prompt = fields.get("prompt")
            return f"{prompt}{program}" if name == "canonical_solution" and isinstance(prompt, str) else program
    return None


def _says_something(value: Any) -> bool:
    return bool(value.strip()) if isinstance(value, str) else value is not None and value != [] and value != {}
