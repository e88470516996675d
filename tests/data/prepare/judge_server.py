"""A language model behind an OpenAI-compatible API on loopback, that answers well or badly."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from tests import json_server


@dataclass(frozen=True)
class Say:
    """One answer: a chat completion with `text`, or `body` as it is, after `seconds`."""

    text: str = "VERDICT: SAME"
    status: int = 200
    seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    drip_seconds: float = 0.0  # between the bytes of the body

    def whole(self) -> json_server.Say:
        settings = {
            "status": self.status,
            "seconds": self.seconds,
            "headers": self.headers,
            "drip_seconds": self.drip_seconds,
        }
        if self.body is not None:
            return json_server.Say(self.body, **settings)
        choice = {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
        return json_server.Say.json({"object": "chat.completion", "choices": [choice], "usage": usage}, **settings)


Script = Callable[[str, int], Say]
"""(problem, how often it was asked before) -> answer."""


@dataclass
class JudgeServer:
    """What it is asked, and how it answers; `script` may be changed while it runs."""

    script: Script = lambda problem, asked: Say()
    asked: list[str] = field(default_factory=list)
    answered: list[str] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: set[str | None] = field(default_factory=set)
    most_at_a_time: int = 0
    url: str = ""
    _now: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def respond(self, path: str, request: dict[str, Any], headers: Mapping[str, str | None]) -> json_server.Say:
        problem = _problem_of(request)
        with self._lock:
            before = Counter(self.asked)[problem]
            self.asked.append(problem)
            self.requests.append(request)
            self.keys.add(headers["Authorization"])
            self._now += 1
            self.most_at_a_time = max(self.most_at_a_time, self._now)
        return self.script(problem, before).whole()

    def ended(self, request: dict[str, Any], is_whole: bool) -> None:
        with self._lock:
            self._now -= 1
            if is_whole:
                self.answered.append(_problem_of(request))


def _problem_of(request: dict[str, Any]) -> str:
    found = re.search(r"<problem>\n(.*?)\n</problem>", request["messages"][-1]["content"], re.DOTALL)
    return found[1] if found else ""


@contextmanager
def judge_server(script: Script | None = None) -> Iterator[JudgeServer]:
    """A server at `url` until the `with` ends."""
    judge = JudgeServer() if script is None else JudgeServer(script)
    with json_server.json_server(judge.respond, judge.ended) as judge.url:
        yield judge
