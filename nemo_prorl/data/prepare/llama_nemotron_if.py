"""Llama-Nemotron's instruction following: prompts with instructions that a program can check (ProRL, Appendix D.5)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from nemo_prorl.data.prepare.base import Card, Record, shown
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prompt import Row
from nemo_prorl.data.sources.base import Message, digest


class LlamaNemotronIF:
    """A record is {"input": [{"role": "user", "content": "..."}], "args": {"instruction_id_list": [...],
    "instruction_kwargs": [{...}, null]}, ...}; also with "kwargs", or with the prompt as a text.

    No instruction is added, as in the paper; `system_prompt`, the one knob, comes before all. Whether the instructions
    are known and their arguments fit, their verifier says in a pass of its own. Arguments that are missing are read
    from the prompt, where it states them.
    """

    card = Card(
        title="Llama-Nemotron post-training data, instruction following",
        domain="instruction",
        licence="CC-BY-4.0",
        paper_problems=10_000,
        hub="nvidia/Llama-Nemotron-Post-Training-Dataset",
        split="instruction_following",
        files="RL/instruction_following/*.jsonl",
    )

    def __init__(self, *, system_prompt: str | None = None) -> None:
        self._system_prompt = system_prompt

    def convert(self, record: Record) -> Row | Rejection:
        messages = self._messages(record.get("input", record.get("prompt")))
        if isinstance(messages, Rejection):
            return messages
        args = _parsed(record.get("args", record))
        if not isinstance(args, Mapping):
            return Rejection("no instructions", shown(args))
        instructions = read_instructions(args)
        if isinstance(instructions, Rejection):
            return instructions
        return Row(
            uid=f"llama_nemotron_if-{digest(json.dumps([messages, instructions]))}",
            domain="instruction",
            task="llama_nemotron_if",
            source="llama_nemotron_if",
            messages=messages,
            verifier="instruction",
            reference={**instructions, "prompt": messages[-1]["content"]},
        )

    def _messages(self, asked: Any) -> tuple[Message, ...] | Rejection:
        if isinstance(asked, str):
            asked = [{"role": "user", "content": asked}]
        if not isinstance(asked, list) or not all(isinstance(message, Mapping) for message in asked):
            return Rejection("no prompt", shown(asked))
        messages = [{"role": message.get("role"), "content": message.get("content")} for message in asked]
        messages = [message for message in messages if message["role"] != "system" or message["content"]]
        if not messages or messages[-1]["role"] != "user":
            return Rejection("no prompt", "the last message isn't the user's")
        if not all(isinstance(message["content"], str) and message["content"].strip() for message in messages):
            return Rejection("no prompt", "a message without text")
        if not all(message["role"] in ("system", "user", "assistant") for message in messages):
            return Rejection("unknown role", shown([message["role"] for message in messages]))
        if self._system_prompt and messages[0]["role"] != "system":
            messages.insert(0, {"role": "system", "content": self._system_prompt})
        return tuple(messages)


def read_instructions(args: Mapping[str, Any]) -> dict[str, Any] | Rejection:
    """{"instruction_id_list", "kwargs"} of equal length, without the nulls that tables put for what isn't there."""
    ids = _parsed(args.get("instruction_id_list"))
    kwargs = _parsed(args.get("instruction_kwargs", args.get("kwargs")))
    if not isinstance(ids, list) or not ids:
        return Rejection("no instructions", shown(ids))
    if not all(isinstance(name, str) and name for name in ids):
        return Rejection("instruction without a name", shown(ids))
    kwargs = [None] * len(ids) if kwargs is None else kwargs
    if not isinstance(kwargs, list) or len(kwargs) != len(ids):
        return Rejection("arguments don't match instructions", f"{len(ids)} instructions, arguments {shown(kwargs)}")
    given = [_parsed(each) for each in kwargs]
    if not all(each is None or isinstance(each, Mapping) for each in given):
        return Rejection("arguments are no objects", shown(given))
    stated = [{key: value for key, value in (each or {}).items() if value is not None} for each in given]
    return {"instruction_id_list": ids, "kwargs": [each or None for each in stated]}


def _parsed(value: Any) -> Any:
    """What a JSON text says; some tables store objects so."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except (ValueError, RecursionError):
            return value
    return value
