"""DeepScaleR-Preview: competition mathematics with short answers (ProRL, Appendix D.1)."""

from __future__ import annotations

from nemo_prorl.data.boxed import last_boxed
from nemo_prorl.data.prepare.base import Card, Record, row_of_question, shown, text_of
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prompt import Row

# The paper's, Appendix D.1.
INSTRUCTION = "Let's think step by step and output the final answer within \\boxed{}."


class DeepScaleR:
    """A record is {"problem": "...", "answer": "42", "solution": "..."}; the solution is empty in most.

    Knobs: `instruction` follows every problem, `system_prompt` comes before it.
    """

    card = Card(
        title="DeepScaleR-Preview",
        domain="math",
        licence="MIT",
        paper_problems=40_000,
        hub="agentica-org/DeepScaleR-Preview-Dataset",
    )

    def __init__(self, *, instruction: str | None = INSTRUCTION, system_prompt: str | None = None) -> None:
        self._instruction, self._system_prompt = instruction, system_prompt

    def convert(self, record: Record) -> Row | Rejection:
        problem, answer = text_of(record, "problem"), record.get("answer")
        if problem is None:
            return Rejection("no problem")
        if isinstance(answer, int | float) and not isinstance(answer, bool):
            answer = str(answer)
        if not isinstance(answer, str) or not answer.strip():
            return Rejection("no answer", shown(answer))
        boxed = last_boxed(answer)
        if boxed == "":
            return Rejection("no answer", shown(answer))
        return row_of_question(
            "deepscaler",
            "math",
            problem,
            {"answer": boxed or answer.strip()},
            instruction=self._instruction,
            system_prompt=self._system_prompt,
        )
