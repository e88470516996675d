"""SCP-116K: science problems with solutions from textbooks, kept where a strong model agrees (ProRL, Appendix D.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from nemo_prorl.data.boxed import last_boxed
from nemo_prorl.data.prepare.base import EVIDENCE, Card, Record, row_of_question, shown, text_of
from nemo_prorl.data.prepare.deepscaler import INSTRUCTION
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prompt import Row

# The columns of the set's releases: the first one had o1 and QwQ, and flags; a later one has DeepSeek-R1.
RESPONSES = ("r1_response", "r1_solution", "response", "o1_solution", "qwq_solution")
FLAG = "is_{}_same_with_matched_solution"


class Scp116k:
    """A record is {"domain": "Physics", "problem": "...", "matched_solution": "...", "o1_solution": "...",
    "is_o1_solution_same_with_matched_solution": true, ...}, or has a response of DeepSeek-R1 instead of these.

    The solutions are worked out at length, but a verifier needs a short answer. It is what the matched solution puts
    into a box, or else what a model's solution does that is found to agree with it.

    Knobs: `agreement` says how that is found: "flags": by the set's own columns, without a judge; "judge": a language
    model compares (`judge.LanguageModelJudge`), as in the paper. `responses`: columns of models' solutions, the
    preferred ones first; `solution`: columns of the matched one. `max_answer_words`: longer ones are prose, which no
    program can compare.
    """

    card = Card(
        title="SCP-116K",
        domain="stem",
        licence="CC-BY-NC-SA-4.0",
        paper_problems=25_000,
        hub="EricLu/SCP-116K",
        caution="Its licence is CC-BY-NC-SA-4.0: NOT for commercial use, and what is made of it is shared alike.",
    )

    def __init__(
        self,
        *,
        agreement: Literal["flags", "judge"] = "flags",
        responses: list[str] = list(RESPONSES),  # noqa: B006 - never changed
        solution: list[str] = ["matched_solution", "solution"],  # noqa: B006
        instruction: str | None = INSTRUCTION,
        system_prompt: str | None = None,
        max_answer_words: Annotated[int, Field(ge=1)] = 8,
        max_answer_chars: Annotated[int, Field(ge=1)] = 150,
    ) -> None:
        self._agreement, self._responses, self._solution = agreement, responses, solution
        self._instruction, self._system_prompt = instruction, system_prompt
        self._max_words, self._max_chars = max_answer_words, max_answer_chars

    @property
    def needs_judge(self) -> bool:
        """Whether rows carry both solutions for a judge."""
        return self._agreement == "judge"

    def convert(self, record: Record) -> Row | Rejection:
        problem, solution = text_of(record, "problem"), _first(record, self._solution)
        if problem is None:
            return Rejection("no problem")
        if solution is None:
            return Rejection("no solution", "no retrievable ground truth")
        response = self._response(record)
        if isinstance(response, Rejection):
            return response
        answer = last_boxed(solution) or last_boxed(response)
        if not answer:
            return Rejection("no short answer", "neither solution has a box")
        if len(answer) > self._max_chars or len(answer.split()) > self._max_words or "\n" in answer:
            return Rejection("answer too long", shown(answer))
        subject = text_of(record, "domain")
        evidence = {"problem": problem, "solution": solution, "response": response}
        return row_of_question(
            "scp116k",
            "stem",
            problem,
            {"answer": answer},
            instruction=self._instruction,
            system_prompt=self._system_prompt,
            metadata={
                **({"subject": subject} if subject else {}),
                **({EVIDENCE: evidence} if self.needs_judge else {}),
            },
        )

    def _response(self, record: Record) -> str | Rejection:
        """A model's solution that agrees with the matched one, or is to be compared with it by a judge."""
        there = [name for name in self._responses if text_of(record, name) is not None]
        if not there:
            return Rejection("no model's solution", f"looked for {', '.join(self._responses)}")
        if self.needs_judge:
            answer = str(record[there[0]]).rpartition("</think>")[2].strip()
            return answer or Rejection("no model's solution", "it never stops thinking")
        flags = {name: record.get(FLAG.format(name)) for name in there}
        if all(flag is None for flag in flags.values()):
            return Rejection("no flags", "these records don't say what agrees; use agreement=judge")
        agreeing = [name for name, flag in flags.items() if flag is True or str(flag).lower() == "true"]
        if not agreeing:
            return Rejection("no model agrees", "by the set's own flags")
        boxed = [name for name in agreeing if last_boxed(str(record[name]))]
        return str(record[(boxed or agreeing)[0]])


def _first(record: Record, fields: Sequence[str]) -> str | None:
    return next((text for field in fields if (text := text_of(record, field)) is not None), None)
