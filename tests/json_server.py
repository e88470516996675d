"""A real HTTP server on loopback that answers JSON, well or badly."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Say:
    """One answer, after `seconds`."""

    body: bytes
    status: int = 200
    seconds: float = 0.0
    headers: dict[str, str] = field(default_factory=dict)
    drip_seconds: float = 0.0  # between the bytes of the body

    @classmethod
    def json(cls, content: Any, **settings: Any) -> Say:
        return cls(json.dumps(content).encode(), **settings)


Respond = Callable[[str, dict[str, Any], Mapping[str, str | None]], Say]
"""(path, what was sent, headers) -> answer."""


@contextmanager
def json_server(
    respond: Respond, ended: Callable[[dict[str, Any], bool], None] = lambda body, whole: None
) -> Iterator[str]:
    """Its address until the `with` ends. `ended` is told of each answer, and whether it went out whole."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            say = respond(self.path, request, self.headers)
            is_whole = False
            try:
                time.sleep(say.seconds)
                self.send_response(say.status)
                for name, value in {"Content-Length": str(len(say.body)), **say.headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                step = 1 if say.drip_seconds else max(len(say.body), 1)
                for start in range(0, len(say.body), step):
                    self.wfile.write(say.body[start : start + step])
                    time.sleep(say.drip_seconds)
                is_whole = True
            except OSError:  # the client has gone
                self.close_connection = True
            finally:
                ended(request, is_whole)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
