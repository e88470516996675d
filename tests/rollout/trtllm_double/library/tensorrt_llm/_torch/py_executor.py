"""The loop that generates, in a thread of its own, and stands still while something else is done to the model.

`stalls`, `dies_of` and `gives_up` are the double's own: what can befall an engine.
"""

from __future__ import annotations

import threading
from asyncio import AbstractEventLoop
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from tensorrt_llm import version
from tensorrt_llm._torch import virtual_memory
from tensorrt_llm._torch.drawing import draw, generator_of, told
from tensorrt_llm.executor.result import CompletionOutput

LONGEST_WAIT_SECONDS = 120.0


@dataclass
class Request:
    prompt: list[int]
    params: Any
    most: int
    generator: torch.Generator
    end_id: int
    stop_ids: frozenset[int]
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[Any] = field(default_factory=list)
    future: Future[CompletionOutput] = field(default_factory=Future)
    is_aborted: bool = False
    loop: AbstractEventLoop | None = None  # that waits for it


class PyExecutor:
    def __init__(self, model: Any, loader: Any, *, sampler: str, max_batch_size: int, block_reuse: bool) -> None:
        self.model_engine = SimpleNamespace(model=model, model_loader=loader)
        self.sampler, self._most_rows, self._block_reuse = sampler, max_batch_size, block_reuse
        self._prefixes: dict[tuple[int, ...], Tensor] = {}
        self._waiting: deque[Request] = deque()
        self._active: list[Request] = []
        self._changed = threading.Condition()
        self._wanted = self._stands = self._ended = False
        self.stalls = False
        self.gives_up = 0
        self.dies_of: Exception | None = None
        self._thread = threading.Thread(target=self._loop, name="tensorrt_llm double", daemon=True)
        self._thread.start()

    def enqueue(self, request: Request) -> None:
        with self._changed:
            if self.dies_of is not None:
                raise RuntimeError("the executor has died") from self.dies_of
            self._waiting.append(request)
            self._changed.notify_all()

    @contextmanager
    def control_action(self) -> Iterator[None]:
        """Inside, all requests are done and the loop stands still. It can't be nested."""
        with self._changed:
            if self.dies_of is not None:
                virtual_memory.events.append("waits for ever")
                raise RuntimeError("the library would wait for ever: its loop is dead")
            if self._wanted:
                raise RuntimeError("control_action is not to be nested")
            self._wanted = True
            self._changed.notify_all()
            if not self._changed.wait_for(lambda: self._stands, LONGEST_WAIT_SECONDS):
                raise RuntimeError("the loop does not come to a stand")
        try:
            yield
        finally:
            with self._changed:
                self._wanted = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: not self._stands, LONGEST_WAIT_SECONDS)

    def stands_still(self) -> bool:
        return self._stands

    def reset_prefix_cache(self) -> None:
        virtual_memory.events.append("reset_prefix_cache")
        self._prefixes.clear()

    def lose_cache(self) -> None:
        """The index of prefixes outlives what it points to."""
        self._prefixes = {key: torch.full_like(logits, torch.nan) for key, logits in self._prefixes.items()}

    def shutdown(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        self._thread.join(LONGEST_WAIT_SECONDS)

    # -- the loop ----------------------------------------------------------------------------------------------------

    def _loop(self) -> None:
        while self._take_up():
            try:
                if self.dies_of is not None:
                    raise self.dies_of
                self._step()
            except Exception as error:
                self.dies_of = error
                for request in [*self._active, *self._waiting]:
                    request.future.set_exception(error)
                self._active, self._waiting = [], deque()
                return

    def _take_up(self) -> bool:
        """Wait for something to do; False when nothing will come."""
        with self._changed:
            while True:
                if self._ended:
                    return False
                if self._wanted and not self._active and not self._waiting:
                    self._stands = True
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: not self._wanted or self._ended)
                    self._stands = False
                    self._changed.notify_all()
                    continue
                if (self._active or self._waiting) and not self.stalls:
                    break
                self._changed.wait(0.02)
            while self._waiting and len(self._active) < self._most_rows:
                self._active.append(self._waiting.popleft())
        return True

    @torch.inference_mode()
    def _step(self) -> None:
        virtual_memory.check_is_here()
        for request in list(self._active):
            if request.is_aborted or self.gives_up > 0:
                self.gives_up -= not request.is_aborted
                self._finish(request, "cancelled")
        if not self._active:
            return
        for request, logits_V in zip(list(self._active), self._logits(), strict=True):
            token = draw(logits_V, request.params, request.generator)
            request.token_ids.append(token)
            if request.params.logprobs or (request.params.logprobs == 0 and not version.ZERO_LOGPROBS_IS_NONE):
                request.logprobs.append(told(logits_V, token, request.params, self.sampler))
            self._look_for_an_end(request, token)

    def _logits(self) -> list[Tensor]:
        """Of each active request's next token; a prompt that was read before is not read again."""
        known = {
            i: self._prefixes[tuple(request.prompt)]
            for i, request in enumerate(self._active)
            if not request.token_ids and tuple(request.prompt) in self._prefixes
        }
        rows = [i for i in range(len(self._active)) if i not in known]
        if rows:
            texts = [[*self._active[i].prompt, *self._active[i].token_ids] for i in rows]
            width = max(map(len, texts))
            tokens_BS = torch.tensor([text + [0] * (width - len(text)) for text in texts])
            logits_BSV = self.model_engine.model(input_ids=tokens_BS).logits.float()
            for i, text, logits_SV in zip(rows, texts, logits_BSV, strict=True):
                known[i] = logits_SV[len(text) - 1]
                if self._block_reuse and not self._active[i].token_ids:
                    self._prefixes[tuple(text)] = known[i]
        return [known[i] for i in range(len(self._active))]

    def _look_for_an_end(self, request: Request, token: int) -> None:
        """In the library's order: the end token, the length, stop words."""
        if token == request.end_id:
            self._finish(request, "stop")
        elif len(request.token_ids) >= request.most:
            self._finish(request, "length")
        elif token in request.stop_ids:
            if not request.params.include_stop_str_in_output:
                request.token_ids.pop()  # and its logprob stays
            self._finish(request, "stop", token)

    def _finish(self, request: Request, reason: Any, stop_reason: int | None = None) -> None:
        self._active.remove(request)
        if request.loop is not None and not request.loop.is_running():
            self.dies_of = RuntimeError("EventLoopShutdownError: nobody is there to be told of a request's end")
        request.future.set_result(
            CompletionOutput(
                0,
                token_ids=request.token_ids,
                logprobs=request.logprobs,
                finish_reason=reason,
                stop_reason=stop_reason,
            )
        )


def make_request(prompt: list[int], params: Any, *, most: int, eos: int, sampler: str) -> Request:
    return Request(
        prompt,
        params,
        most,
        generator_of(params.seed, sampler),
        end_id=eos if params.end_id is None else params.end_id,
        stop_ids=frozenset(params.stop_token_ids or ()),
    )
