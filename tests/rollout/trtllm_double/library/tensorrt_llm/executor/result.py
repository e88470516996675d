"""What a request comes to."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal


@dataclass(slots=True)
class Logprob:
    logprob: float
    rank: int | None = None


@dataclass(slots=True)
class CompletionOutput:
    index: int
    text: str = ""
    token_ids: list[int] | None = field(default_factory=list)
    cumulative_logprob: float | None = None
    logprobs: list[Any] | None = field(default_factory=list)
    prompt_logprobs: list[Any] | None = field(default_factory=list)
    finish_reason: Literal["stop", "length", "timeout", "cancelled"] | None = None
    stop_reason: int | str | None = None
    generation_logits: Any = None
    additional_context_outputs: Any = None
    additional_generation_outputs: Any = None
    disaggregated_params: Any = None
    request_perf_metrics: Any = None

    @property
    def length(self) -> int:
        return len(self.token_ids or [])


class RequestOutput:
    """To be awaited, or asked for its `result`."""

    def __init__(self, *arguments: Any) -> None:
        raise RuntimeError("RequestOutput is not designed to be instantiated by users")

    @classmethod
    def _of(cls, request_id: int, prompt: str | None, prompt_token_ids: list[int], request: Any) -> RequestOutput:
        self = object.__new__(cls)
        self.request_id, self.prompt, self.prompt_token_ids = request_id, prompt, prompt_token_ids
        self._request = request
        return self

    @property
    def _future(self) -> Future[CompletionOutput]:
        return self._request.future

    @property
    def outputs(self) -> list[CompletionOutput]:
        return [self._future.result()] if self._future.done() else []

    @property
    def context_logits(self) -> Any:
        return None

    @property
    def finished(self) -> bool:
        return self._future.done()

    def result(self, timeout: float | None = None) -> RequestOutput:
        self._future.result(timeout)
        return self

    async def aresult(self) -> RequestOutput:
        # Shielded: whoever waits may be cancelled, the request goes on until it is aborted.
        await asyncio.shield(asyncio.wrap_future(self._future))
        return self

    def __await__(self) -> Generator[Any, None, RequestOutput]:
        return self.aresult().__await__()

    def abort(self) -> None:
        self._request.is_aborted = True

    def aborted(self) -> bool:
        return self._request.is_aborted
