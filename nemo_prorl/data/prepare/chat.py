"""Asking a language model behind an OpenAI-compatible API."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

from nemo_prorl.json_api import JsonApi, UnreadableError


@dataclass(frozen=True)
class Reply:
    """What the model wrote, and what that cost in tokens."""

    text: str
    input_tokens: int
    output_tokens: int


class ChatApi:
    """POST {base_url}/chat/completions. `async with` it; any number of questions may be asked at a time.

    `settings`, as `JsonApi` takes them: the key's environment variable, time limit, attempts and waits.
    """

    def __init__(self, base_url: str, model: str, *, parameters: Mapping[str, Any], **settings: Any) -> None:
        self.model, self.parameters = model, dict(parameters)
        key = settings["api_key_variable"]
        self._api = JsonApi(
            base_url,
            **settings,
            who=f"the judge, model {model!r},",
            advice=f"judge.base_url, judge.model and the key in the environment variable {key}",
        )

    @property
    def retries(self) -> int:
        return self._api.retries

    async def ask(self, messages: Sequence[Mapping[str, str]]) -> Reply:
        """
        Raises:
            RefusedError: a status code that says that this question is at fault.
            UnansweredError: all attempts failed.
            ConfigError: the key, the address or the model is wrong.
        """
        body = {"model": self.model, "messages": list(messages), **self.parameters}
        return await self._api.post("chat/completions", body, _reply)

    async def __aenter__(self) -> ChatApi:
        await self._api.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._api.__aexit__(kind, error, traceback)


def _reply(answer: Any) -> Reply:
    try:
        text = answer["choices"][0]["message"]["content"]
    except (LookupError, TypeError):
        raise UnreadableError("an answer that is no chat completion") from None
    if not isinstance(text, str):
        raise UnreadableError("an answer without text")
    text = text.encode(errors="replace").decode()  # JSON may hold half a pair of surrogates, a file in UTF-8 can't
    usage = answer.get("usage")
    counts = [usage.get(f"{kind}_tokens") if isinstance(usage, Mapping) else None for kind in ("prompt", "completion")]
    return Reply(text, *(count if isinstance(count, int) else 0 for count in counts))
