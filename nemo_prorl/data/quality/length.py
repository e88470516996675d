"""Prompts that the model has no room for."""

from __future__ import annotations

from collections.abc import Callable

from nemo_prorl.data.prompt import Row


class PromptLength:
    """Rejects a row whose prompt, as the model's tokenizer and chat template make it, is over `max_prompt_tokens`."""

    name = "prompt length"

    def __init__(self, count_tokens: Callable[[Row], int], *, max_prompt_tokens: int) -> None:
        self._count_tokens, self._max_prompt_tokens = count_tokens, max_prompt_tokens

    def judge(self, row: Row) -> str | None:
        tokens = self._count_tokens(row)
        return f"long prompt: {tokens} tokens" if tokens > self._max_prompt_tokens else None
