"""Asking a language model behind an OpenAI-compatible API, patiently: with time limits, back-off and Retry-After."""

from __future__ import annotations

import asyncio
import logging
import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from time import time
from types import TracebackType
from typing import Any

import httpx2

from nemo_prorl.errors import ConfigError

log = logging.getLogger(__name__)

_TRY_AGAIN = frozenset({408, 409, 425, 429})  # and all from 500 on
_SETTINGS_ARE_WRONG = frozenset({401, 403, 404, 405})
LONGEST_WAIT_SECONDS = 120.0


@dataclass(frozen=True)
class Reply:
    """What the model wrote, and what that cost in tokens."""

    text: str
    input_tokens: int
    output_tokens: int


class RefusedError(Exception):
    """The server won't answer this one question, however often it is asked."""


class UnansweredError(Exception):
    """No answer within all attempts: the server, or the way to it, fails."""


class ChatApi:
    """POST {base_url}/chat/completions. `async with` it; any number of questions may be asked at a time.

    The key is read from the environment variable `api_key_variable`, and stands in no message, log or file. A request
    that takes longer than `timeout_seconds`, a connection that breaks, an answer that isn't JSON of the right form, and
    the status codes 408, 409, 425, 429 and 5xx are tried again, `attempts` in all: after as long as Retry-After says,
    else after `first_wait_seconds`, doubled each time, and a random part of it.
    """

    def __init__(
        self,
        base_url: str,
        model: str,
        *,
        api_key_variable: str,
        timeout_seconds: float,
        attempts: int,
        first_wait_seconds: float,
        parameters: Mapping[str, Any],
    ) -> None:
        self.model, self.parameters = model, dict(parameters)
        self._base_url, self._key_variable = base_url.rstrip("/"), api_key_variable
        self._attempts, self._first_wait = attempts, first_wait_seconds
        self._timeout = timeout_seconds
        self.retries = 0

    async def ask(self, messages: Sequence[Mapping[str, str]]) -> Reply:
        """
        Raises:
            RefusedError: a status code that says that this question is at fault.
            UnansweredError: all attempts failed.
            ConfigError: the key, the address or the model is wrong.
        """
        body = {"model": self.model, "messages": list(messages), **self.parameters}
        problem = ""
        for attempt in range(self._attempts):
            if attempt:
                self.retries += 1
            wait = self._first_wait * 2**attempt * random.uniform(0.5, 1.5)
            try:
                # The whole exchange has a deadline: a server that sends a byte now and then never lets a read time out.
                async with asyncio.timeout(self._timeout):
                    response = await self._client.post(f"{self._base_url}/chat/completions", json=body)
                reply = self._read(response)
                if isinstance(reply, Reply):
                    return reply
                problem, wait = reply, _retry_after(response.headers.get("retry-after"), wait)
            except (httpx2.HTTPError, TimeoutError) as error:
                problem = f"{type(error).__name__} {error}".strip()
            if attempt + 1 < self._attempts:
                log.debug("the judge: %s; asking again in %.1f s", problem, wait)
                await asyncio.sleep(min(wait, LONGEST_WAIT_SECONDS))
        raise UnansweredError(f"{problem} ({self._attempts} attempts)")

    def _read(self, response: httpx2.Response) -> Reply | str:
        """The reply, or why one should ask again."""
        status = response.status_code
        if status in _TRY_AGAIN or status >= 500:
            return f"status {status}"
        if status in _SETTINGS_ARE_WRONG:
            raise ConfigError(
                f"the judge at {self._base_url} answers {status} for model {self.model!r}: {response.text[:200]!r}. "
                f"Check judge.base_url, judge.model and the key in the environment variable {self._key_variable}"
            )
        if status >= 400:
            raise RefusedError(f"status {status}: {response.text[:200]}")
        try:
            answer = response.json()
            text = answer["choices"][0]["message"]["content"]
        except (ValueError, LookupError, TypeError):
            return "an answer that is no chat completion"
        if not isinstance(text, str):
            return "an answer without text"
        usage = answer.get("usage") or {}
        return Reply(text, *(int(usage.get(name) or 0) for name in ("prompt_tokens", "completion_tokens")))

    async def __aenter__(self) -> ChatApi:
        key = os.environ.get(self._key_variable, "")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
        self._client = httpx2.AsyncClient(headers=headers, timeout=self._timeout, limits=limits)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._client.aclose()


def _retry_after(value: str | None, otherwise: float) -> float:
    """Seconds to wait by a Retry-After header, a number or a date.

    >>> _retry_after("3", 1.0), _retry_after(None, 1.0)
    (3.0, 1.0)
    """
    if value is None:
        return otherwise
    try:
        return max(float(value), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(value).timestamp() - time(), 0.0)
    except ValueError:
        return otherwise
