"""As much of the Hugging Face hub as reading a data set takes, on loopback."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Files = Mapping[str, Mapping[str, bytes]]
"""Data set -> path -> content."""


@dataclass
class Hub:
    """Whenever a data set's newest commit is asked for there is a newer one: 111..., 222..., and so on."""

    files: Files
    url: str = ""
    newest: dict[str, int] = field(default_factory=dict)
    read: list[str] = field(default_factory=list)  # files that were asked for

    def commit(self, dataset: str) -> str:
        self.newest[dataset] = self.newest.get(dataset, 0) + 1
        return str(self.newest[dataset]) * 40


@contextmanager
def hub_server(files: Files) -> Iterator[Hub]:
    """A hub at `url` until the `with` ends."""
    hub = Hub(files)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            path = self.path.partition("?")[0].strip("/").split("/")
            dataset = "/".join(path[2:4]) if path[0] == "api" else "/".join(path[1:3])
            if dataset not in hub.files:
                self._send(b"{}", 404)
            elif path[0] == "api" and "tree" in path:
                self._send(json.dumps([_entry(*file) for file in hub.files[dataset].items()]).encode())
            elif path[0] == "api":
                commit = path[-1] if "revision" in path else hub.commit(dataset)
                siblings = [{"rfilename": name} for name in hub.files[dataset]]
                self._send(json.dumps({"id": dataset, "sha": commit, "siblings": siblings}).encode())
            else:
                self._send_file(dataset, commit=path[4], name="/".join(path[5:]))

        do_HEAD = do_GET

        def _send_file(self, dataset: str, commit: str, name: str) -> None:
            content = hub.files[dataset][name]
            hub.read.append(f"{dataset}@{commit[:3]}/{name}")
            about = {"X-Repo-Commit": commit, "ETag": f'"{_oid(content)}"', "Accept-Ranges": "bytes"}
            if (wanted := self.headers["Range"]) is None:
                self._send(content, headers=about)
                return
            first, last = (int(end) if end else len(content) - 1 for end in wanted.removeprefix("bytes=").split("-"))
            part = content[first : last + 1]
            about["Content-Range"] = f"bytes {first}-{first + len(part) - 1}/{len(content)}"
            self._send(part, 206, about)

        def _send(self, body: bytes, status: int = 200, headers: Mapping[str, str] | None = None) -> None:
            self.send_response(status)
            for name, value in (headers or {}).items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def _entry(path: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": path, "size": len(content), "oid": _oid(content)}


def _oid(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
