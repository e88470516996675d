"""How many of a prompt's instructions a response follows."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.answer import after_reasoning
from nemo_prorl.verifiers.instructions.detector import detect
from nemo_prorl.verifiers.instructions.task import Task, read_task

MAX_ANSWER_CHARS = 262_144


class InstructionVerifier:
    """The fraction of the instructions that are followed (IFEval and its kin), in what follows the last </think>.

    The reference is a row of IFEval or of Llama-Nemotron's data: {"instruction_id_list": ["punctuation:no_comma",
    "length_constraints:number_words"], "kwargs": [null, {"num_words": 300, "relation": "at least"}]}; also with
    "instruction_kwargs" for "kwargs", or both within "args". Arguments that are missing are read from "prompt" (or
    "input", "messages") where a generator's fixed sentence states them; a row with one that can't be is refused, since
    published checkers draw a random value for it. Also in the reference, if wanted:

    - "mode": "strict" (default), or "loose": an instruction is also followed if it is without the first line, the last
      one, both, or asterisks (Zhou et al. 2023, section 3).
    - "grading": "fraction" (default), or "binary": 1 if all are followed.
    - "thinking": true if the prompt ends with <think>: then a response without </think> answers nothing. By default
      one without any think tag is judged whole; one with <think> that never closes answers nothing.
    """

    @staticmethod
    def warm_up() -> None:
        detect("The first text has the profiles of all languages read, which takes half a second.")

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        task, problems = read_task(reference)
        if task is None:
            raise VerifierError(f"{'; '.join(problems)}. Repair the row, or drop it from the data")
        answer = after_reasoning(text, begun=task.thinking)
        if answer is None:
            return Verdict(0.0, "the reasoning never ends", "no_answer")
        if not answer.strip():
            return Verdict(0.0, "an empty answer", "no_answer")
        if len(answer) > MAX_ANSWER_CHARS:
            return Verdict(0.0, f"an answer of {len(answer)} characters; at most {MAX_ANSWER_CHARS} are read")
        followed = follow(task, answer)
        missed = [
            instruction.id
            for instruction, is_followed in zip(task.instructions, followed, strict=True)
            if not is_followed
        ]
        reward = sum(followed) / len(followed) if task.grading == "fraction" else float(not missed)
        found = f"followed {sum(followed)} of {len(followed)}"
        return Verdict(reward, f"{found}; not {', '.join(missed)}" if missed else found)


def check_reference(reference: Mapping[str, Any]) -> list[str]:
    """What is wrong with a row's reference, in words; nothing if `InstructionVerifier` can judge by it."""
    return read_task(reference)[1]


def follow(task: Task, answer: str) -> list[bool]:
    """Which of the task's instructions `answer`, free of any thinking, follows, in their order."""
    variants = [answer] if task.mode == "strict" else loosened(answer)
    return [any(map(instruction.is_followed_by, variants)) for instruction in task.instructions]


def loosened(answer: str) -> list[str]:
    """The answer, and what is left of it without its first line, its last or both, each also without asterisks."""
    lines = answer.split("\n")
    cut = [answer, *("\n".join(kept).strip() for kept in (lines[1:], lines[:-1], lines[1:-1]))]
    return list(dict.fromkeys([*cut, *(variant.replace("*", "") for variant in cut)]))
