"""Asking a server over HTTP that speaks JSON, patiently: with time limits, back-off and Retry-After."""

from __future__ import annotations

import asyncio
import logging
import math
import os
import random
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from time import time
from types import TracebackType
from typing import Any, TypeVar

import httpx2

from nemo_prorl.errors import ConfigError

R = TypeVar("R")

log = logging.getLogger(__name__)

_TRY_AGAIN = frozenset({408, 409, 425, 429})  # and all from 500 on
_SETTINGS_ARE_WRONG = frozenset({301, 302, 303, 307, 308, 401, 403, 404, 405})  # redirections are not followed
LONGEST_WAIT_SECONDS = 120.0


class RefusedError(Exception):
    """The server won't answer this one question, however often it is asked."""


class UnansweredError(Exception):
    """No answer within all attempts: the server, or the way to it, fails."""


class UnreadableError(Exception):
    """What `read` raises for an answer that isn't of the right form; it says what it is instead."""


class JsonApi:
    """POST {base_url}/... with a JSON body. `async with` it; any number of questions may be asked at a time.

    The key is read from the environment variable `api_key_variable` (None: there is no key), and stands in no message,
    log or file. A request that takes longer than `timeout_seconds`, a connection that breaks, an answer that isn't JSON
    of the right form, and the status codes 408, 409, 425, 429 and 5xx are tried again, `attempts` in all: after as long
    as Retry-After says, else after `first_wait_seconds`, doubled each time, and a random part of it; never after more
    than LONGEST_WAIT_SECONDS. In messages it is called `who`, and `advice` says what to check.
    """

    def __init__(
        self,
        base_url: str,
        *,
        api_key_variable: str | None,
        timeout_seconds: float,
        attempts: int,
        first_wait_seconds: float,
        who: str,
        advice: str,
    ) -> None:
        self._base_url, self._key_variable = base_url, api_key_variable
        self._timeout, self._attempts, self._first_wait = timeout_seconds, attempts, first_wait_seconds
        self._who, self._advice = who, advice
        self.retries = 0

    async def post(self, path: str, body: Mapping[str, Any], read: Callable[[Any], R]) -> R:
        """What `read` makes of the answer to `body`. An empty `path` is the base_url as it stands.

        Raises:
            RefusedError: a status code that says that this question is at fault.
            UnansweredError: all attempts failed.
            ConfigError: the key, the address or the model is wrong.
        """
        address = f"{self._base_url.rstrip('/')}/{path}" if path else self._base_url
        problem = ""
        for attempt in range(self._attempts):
            if attempt:
                self.retries += 1
            wait = self._first_wait * 2**attempt * random.uniform(0.5, 1.5)
            try:
                # The whole exchange has a deadline: a server that sends a byte now and then never lets a read time out.
                async with asyncio.timeout(self._timeout):
                    response = await self._client.post(address, json=dict(body))
                wait = _retry_after(response.headers.get("retry-after"), wait)
                return read(self._content(response))
            except UnreadableError as error:
                problem = str(error)
            except (httpx2.HTTPError, TimeoutError) as error:
                problem = f"{type(error).__name__} {error}".strip()
            if attempt + 1 < self._attempts:
                log.debug("%s: %s; asking again in %.1f s", self._who, problem, wait)
                await asyncio.sleep(min(wait, LONGEST_WAIT_SECONDS))
        raise UnansweredError(f"{problem} ({self._attempts} attempts)")

    def _content(self, response: httpx2.Response) -> Any:
        """The JSON of a response.

        Raises:
            UnreadableError: one should ask again.
        """
        status = response.status_code
        if status in _TRY_AGAIN or status >= 500:
            raise UnreadableError(f"status {status}")
        if status in _SETTINGS_ARE_WRONG:
            said = response.headers.get("location", response.text[:200])
            raise ConfigError(f"{self._who} at {self._base_url} answers {status} ({said!r}). Check {self._advice}")
        if status >= 400:
            raise RefusedError(f"status {status}: {response.text[:200]}")
        try:
            return response.json()
        except ValueError:
            raise UnreadableError("an answer that is no JSON") from None

    async def __aenter__(self) -> JsonApi:
        key = os.environ.get(self._key_variable, "") if self._key_variable else ""
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

    >>> [_retry_after(value, 1.0) for value in ("3", "-3", "soon", "nan", None)]
    [3.0, 0.0, 1.0, 1.0, 1.0]
    """
    if value is None:
        return otherwise
    try:
        seconds = float(value)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(value).timestamp() - time()
        except ValueError:
            return otherwise
    return max(seconds, 0.0) if math.isfinite(seconds) else otherwise
