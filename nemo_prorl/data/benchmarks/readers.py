"""Records of evaluation sets, as published, read as questions with what their verifiers need."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from nemo_prorl.data.boxed import last_boxed
from nemo_prorl.data.prepare.base import Record, shown, text_of
from nemo_prorl.data.prepare.eurus_code import EurusCode
from nemo_prorl.data.prepare.llama_nemotron_if import read_instructions
from nemo_prorl.data.prepare.passes import Rejection


@dataclass(frozen=True)
class Question:
    """What is asked, without any instruction of ours, and by what an answer is judged.

    `is_complete`: the text itself says how the answer is to be given. `date`: of its contest, as YYYY-MM-DD.
    """

    text: str
    reference: Mapping[str, Any]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    is_complete: bool = False
    date: str = ""


Reader = Callable[[Record], Question | Rejection | None]
"""None for a record that belongs to another set."""


def short_answer(question: str, answer: str, *metadata: str) -> Reader:
    """A question and a short answer, in fields of these names; `metadata` are fields to keep."""

    def read(record: Record) -> Question | Rejection | None:
        text, right = text_of(record, question), plain_answer(record.get(answer))
        if text is None:
            return Rejection("no question", shown(record.get(question)))
        if right is None:
            return Rejection("no answer", shown(record.get(answer)))
        return Question(text, {"answer": right}, _kept(record, metadata))

    return read


def plain_answer(answer: Any) -> str | None:
    r"""An answer as text: whole numbers without leading zeros or a decimal point, what is boxed without its box.

    >>> plain_answer("033"), plain_answer(142.0), plain_answer(r"$\boxed{\frac{1}{2}}$"), plain_answer(" ")
    ('33', '142', '\\frac{1}{2}', None)
    """
    if isinstance(answer, float) and answer.is_integer():
        answer = int(answer)
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        return None
    text = str(answer).strip()
    text = last_boxed(text) or text
    if len(text) > 2 and text[0] == text[-1] == "$" and "$" not in text[1:-1]:
        text = text[1:-1].strip()
    return str(int(text)) if text.isascii() and text.isdigit() else text or None


def olympiad_bench(record: Record) -> Question | Rejection | None:
    """OlympiadBench: `final_answer` is a list, of one answer mostly; what has pictures isn't asked in text."""
    text = text_of(record, "question")
    if text is None:
        return Rejection("no question", shown(record.get("question")))
    if record.get("modality") not in (None, "Text-only"):
        return Rejection("needs pictures", shown(record.get("modality")))
    given = record.get("final_answer")
    answers = [plain_answer(answer) for answer in given] if isinstance(given, list) else []
    known = [answer for answer in answers if answer is not None]
    if not known or len(known) < len(answers):
        return Rejection("no answer", shown(given))
    context = text_of(record, "context")
    kept = _kept(record, ("subfield", "answer_type", "unit", "error", "is_multiple_answer"))
    return Question(f"{context}\n\n{text}" if context else text, {"answer": ", ".join(known)}, kept)


def prime_validation(*data_sources: str) -> Reader:
    """Eurus-2-RL's validation problems from these contests: what PRIME validates on."""
    converter = EurusCode(instruction=None)

    def read(record: Record) -> Question | Rejection | None:
        if record.get("ability") != "code" or record.get("data_source") not in data_sources:
            return None
        row = converter.convert(record)
        if isinstance(row, Rejection):
            return row
        text = row.messages[0]["content"]
        return Question(text, row.reference, {"data_source": row.task}, is_complete="```" in text)

    return read


def humaneval_plus(record: Record) -> Question | Rejection | None:
    """EvalPlus's functions: with a check in Python on the hub, with arguments to call them with in its own files."""
    prompt, function = text_of(record, "prompt"), text_of(record, "entry_point")
    if prompt is None or function is None:
        return Rejection("no question", shown(record.get("prompt")))
    fields = ("entry_point", "canonical_solution", "test", "base_input", "plus_input", "atol")
    reference = {name: record[name] for name in fields if record.get(name) not in (None, "")}
    if "test" not in reference and "base_input" not in reference:
        return Rejection("no tests", shown(sorted(record)))
    text = f"Complete this Python function.\n\n```python\n{prompt}\n```"
    return Question(text, {"prompt": record["prompt"], **reference}, _kept(record, ("task_id",)))


def livecodebench(record: Record) -> Question | Rejection | None:
    """LiveCodeBench: hidden tests stay packed, and are never unpickled; the verifier reads them."""
    text = text_of(record, "question_content")
    if text is None:
        return Rejection("no question", shown(record.get("question_content")))
    if not text_of(record, "public_test_cases") and not text_of(record, "private_test_cases"):
        return Rejection("no tests", shown(sorted(record)))
    starter = text_of(record, "starter_code")
    if starter is not None:
        text += f"\n\nThe program begins with this code:\n\n```python\n{starter}\n```"
    else:
        text += "\n\nThe program reads from standard input and writes to standard output."
    reference = {name: record.get(name) or "" for name in ("public_test_cases", "private_test_cases")}
    date = str(record.get("contest_date") or "")[:10]
    kept = _kept(record, ("question_id", "platform", "difficulty", "contest_id"))
    return Question(text, {**reference, "metadata": record.get("metadata") or {}}, {**kept, "date": date}, date=date)


def ifeval(record: Record) -> Question | Rejection | None:
    """IFEval: from Parquet every instruction's arguments have all keys there are, most of them null."""
    prompt, instructions = text_of(record, "prompt"), read_instructions(record)
    if prompt is None:
        return Rejection("no question", shown(record.get("prompt")))
    if isinstance(instructions, Rejection):
        return instructions
    return Question(prompt, {**instructions, "prompt": record["prompt"]}, _kept(record, ("key",)), is_complete=True)


def _kept(record: Record, fields: tuple[str, ...]) -> dict[str, Any]:
    return {name: record[name] for name in fields if record.get(name) not in (None, "")}
