"""A real HTTP server on loopback that speaks as an OpenAI-compatible API does, well or badly."""

from __future__ import annotations

import json
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Say:
    """One answer: a chat completion with `text`, or `body` as it is, after `seconds`."""

    text: str = "VERDICT: SAME"
    status: int = 200
    seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    drip_seconds: float = 0.0  # between the bytes of the body

    def bytes(self) -> bytes:
        choice = {"index": 0, "message": {"role": "assistant", "content": self.text}, "finish_reason": "stop"}
        usage = {"prompt_tokens": 1000, "completion_tokens": 100, "total_tokens": 1100}
        whole = {"object": "chat.completion", "choices": [choice], "usage": usage}
        return json.dumps(whole).encode() if self.body is None else self.body


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

    def begin(self, request: dict[str, Any], key: str | None) -> tuple[str, Say]:
        found = re.search(r"<problem>\n(.*?)\n</problem>", request["messages"][-1]["content"], re.DOTALL)
        problem = found[1] if found else ""
        with self._lock:
            before = Counter(self.asked)[problem]
            self.asked.append(problem)
            self.requests.append(request)
            self.keys.add(key)
            self._now += 1
            self.most_at_a_time = max(self.most_at_a_time, self._now)
        return problem, self.script(problem, before)

    def end(self, problem: str, is_whole: bool) -> None:
        with self._lock:
            self._now -= 1
            if is_whole:
                self.answered.append(problem)


@contextmanager
def judge_server(script: Script | None = None) -> Iterator[JudgeServer]:
    """A server at `url` until the `with` ends."""
    judge = JudgeServer() if script is None else JudgeServer(script)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            problem, say = judge.begin(request, self.headers["Authorization"])
            is_whole = False
            try:
                time.sleep(say.seconds)
                body = say.bytes()
                self.send_response(say.status)
                for name, value in say.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                for start in range(0, len(body), 1 if say.drip_seconds else len(body)):
                    self.wfile.write(body[start : start + 1] if say.drip_seconds else body)
                    time.sleep(say.drip_seconds)
                is_whole = True
            except OSError:  # the client has gone
                self.close_connection = True
            finally:
                judge.end(problem, is_whole)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    judge.url = f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield judge
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
