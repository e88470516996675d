"""A connection that carries JSON objects, a line each, and never keeps its thread waiting."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

PORTS_TRIED = 16
CONNECT_SECONDS = 2.0
WELCOME_SECONDS = 10.0  # the main rank may be busy with its imports
_LONGEST_LINE = 1 << 20
_OF_A_START = (
    *("MASTER_ADDR", "MASTER_PORT", "WORLD_SIZE", "SLURM_JOB_ID", "SLURM_STEP_ID", "SLURM_RESTART_COUNT"),
    *("TORCHELASTIC_RUN_ID", "TORCHELASTIC_RESTART_COUNT"),
)


class Line:
    """One end. `is_open` turns false when the other end is closed, by whomever. Any thread may send.

    is_welcome  whether the other end has said the secret of this start
    rank        whose it is, once that is known
    peer        the process there, as it has told it in its welcome
    """

    def __init__(self, connection: socket.socket) -> None:
        self.connection, self.is_open = connection, True
        self.is_welcome = False
        self.rank: int | None = None
        self.peer: dict[str, Any] = {}
        self._received, self._unsent = b"", b""
        self._lock = threading.Lock()
        connection.setblocking(False)
        with suppress(OSError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def fileno(self) -> int:
        return self.connection.fileno()

    def send(self, said: Mapping[str, Any]) -> None:
        """As far as it goes now; the rest with the next. Nothing more is added to a line that nobody reads."""
        with self._lock:
            if len(self._unsent) < _LONGEST_LINE:
                self._unsent += json.dumps(said).encode() + b"\n"
            try:
                while self._unsent:
                    self._unsent = self._unsent[self.connection.send(self._unsent) :]
            except BlockingIOError:
                return
            except OSError:
                self._unsent = b""  # whether it is closed is seen from what it gives

    def say_nothing_more(self) -> None:
        with suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)

    def receive(self) -> list[dict[str, Any]]:
        """What has come since. What is no such line closes the connection."""
        try:
            while chunk := self.connection.recv(1 << 16):
                self._received += chunk
            self.is_open = False
        except BlockingIOError:
            pass
        except OSError:
            self.is_open = False
        *whole, self._received = self._received.split(b"\n")
        if len(self._received) > _LONGEST_LINE:
            self.is_open = False
        said = []
        for line in whole:
            try:
                said.append(dict(json.loads(line)))
            except (TypeError, ValueError):
                self.is_open = False
        return said

    def close(self) -> None:
        self.is_open = False
        self.connection.close()


def secret_of_start() -> str:
    """What the ranks of one start have in common, and those of others haven't: it keeps runs of one host apart."""
    return "prorl " + " ".join(os.environ.get(name, "-") for name in _OF_A_START)


def ports(port: int | None) -> list[int]:
    """Where the main rank may listen; none without MASTER_PORT."""
    if port is not None:
        return [port]
    said = os.environ.get("MASTER_PORT", "")
    return [int(said) + 1 + n for n in range(PORTS_TRIED) if int(said) + 1 + n < 65536] if said.isdecimal() else []


def listen(port: int | None) -> socket.socket | None:
    """The main rank's door; None: all ports are taken."""
    address = os.environ.get("MASTER_ADDR", "")
    # A host may know the name that others call it by as 127.0.1.1; so it listens everywhere, unless all ranks are here.
    host = address if address in ("127.0.0.1", "localhost", "::1") else ""
    for number in ports(port):
        door = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_STREAM)
        door.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            door.bind((host, number))
            door.listen(1024)
            door.setblocking(False)
            return door
        except OSError:
            door.close()
    return None


def connect(port: int | None, hello: Mapping[str, Any]) -> Line | None:
    """To the main rank, if it listens already. It answers a `hello` of its own start alone."""
    for number in ports(port):
        try:
            connection = socket.create_connection((os.environ["MASTER_ADDR"], number), CONNECT_SECONDS)
        except OSError:
            continue
        line = Line(connection)
        line.send(hello)
        until = time.monotonic() + WELCOME_SECONDS
        while line.is_open and time.monotonic() < until:
            for said in line.receive():
                if "welcome" in said:
                    line.peer = said["welcome"]
                    return line
            time.sleep(0.01)
        line.close()
    return None
