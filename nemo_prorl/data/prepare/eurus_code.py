"""Eurus-2-RL's competition programming with its tests (ProRL, Appendix D.2)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from nemo_prorl.data.prepare.base import Card, Record, row_of_question, shown, text_of
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prompt import Row

INSTRUCTION = "Write Python code to solve the problem, and enclose the final program within ```python and ```."


class EurusCode:
    """A record is {"data_source": "taco", "prompt": [{"role": "system", ...}, {"role": "user", ...}], "ability":
    "code", "reward_model": {"ground_truth": "{\\"inputs\\": [...], \\"outputs\\": [...]}"}, "extra_info": {...}}.

    Its long system prompt, which asks for actions such as [ASSESS], is left away. The mathematics of the same files is
    no part of this source.

    Knobs: `instruction` follows the problems that don't say yet how to fence a program, `system_prompt` comes before
    all; tests of more than `max_test_bytes` are left out: a handful have hundreds of megabytes.
    """

    card = Card(
        title="Eurus-2-RL-Data, code",
        domain="code",
        licence="MIT",
        paper_problems=24_000,
        hub="PRIME-RL/Eurus-2-RL-Data",
    )

    def __init__(
        self,
        *,
        instruction: str | None = INSTRUCTION,
        system_prompt: str | None = None,
        max_test_bytes: Annotated[int, Field(ge=1)] = 4_000_000,
    ) -> None:
        self._instruction, self._system_prompt = instruction, system_prompt
        self._max_test_bytes = max_test_bytes

    def convert(self, record: Record) -> Row | Rejection:
        if record.get("ability") != "code":
            return Rejection("not code", shown(record.get("ability")))
        problem = _problem(record.get("prompt"))
        if problem is None:
            return Rejection("no problem", shown(record.get("prompt")))
        reward_model = record.get("reward_model")
        ground_truth = reward_model.get("ground_truth") if isinstance(reward_model, Mapping) else None
        tests = read_tests(ground_truth, self._max_test_bytes)
        if isinstance(tests, Rejection):
            return tests
        task = text_of(record, "data_source") or "eurus_code"
        return row_of_question(
            "eurus_code",
            "code",
            problem,
            tests,
            instruction=None if "```" in problem else self._instruction,
            system_prompt=self._system_prompt,
            task=task,
        )


def read_tests(ground_truth: Any, max_bytes: int) -> dict[str, Any] | Rejection:
    """{"inputs", "outputs"} and, of a function, {"fn_name"}: what the JSON text says, or why it can't be used."""
    if isinstance(ground_truth, str):
        if (size := len(ground_truth.encode(errors="replace"))) > max_bytes:
            return Rejection("tests too large", f"{size:,} bytes")
        try:
            ground_truth = json.loads(ground_truth)
        except (ValueError, RecursionError) as error:
            return Rejection("tests are no JSON", shown(str(error)))
    if not isinstance(ground_truth, Mapping):
        return Rejection("no tests", shown(ground_truth))
    inputs, outputs, function = (ground_truth.get(key) for key in ("inputs", "outputs", "fn_name"))
    if not isinstance(inputs, list) or not isinstance(outputs, list) or not inputs:
        return Rejection("no tests", f"fields {sorted(ground_truth)}")
    if len(inputs) != len(outputs):
        return Rejection("inputs without outputs", f"{len(inputs)} inputs, {len(outputs)} outputs")
    if function is not None and (not isinstance(function, str) or not function.strip()):
        return Rejection("no function name", shown(function))
    if function is None and not all(_is_text(text) for text in [*inputs, *outputs]):
        return Rejection("tests are no text", "a program reads and prints text; there is no fn_name")
    if all(output in ("", [], None) for output in outputs):
        return Rejection("no expected output", f"{len(outputs)} tests")
    return {"inputs": inputs, "outputs": outputs, **({"fn_name": function.strip()} if function else {})}


def _is_text(value: Any) -> bool:
    """A text, or a list of its lines."""
    return isinstance(value, str) or (isinstance(value, list) and all(isinstance(line, str) for line in value))


def _problem(prompt: Any) -> str | None:
    """What the user asks."""
    if not isinstance(prompt, list):
        return None
    asked = [message for message in prompt if isinstance(message, Mapping) and message.get("role") == "user"]
    return text_of(asked[-1], "content") if asked else None
