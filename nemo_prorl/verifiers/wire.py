"""How a pool and its worker processes speak: JSON behind four bytes of length, over a socket pair.

JSON, since a worker has read text that may be hostile: nothing that it answers is ever unpickled.
"""

from __future__ import annotations

import json
import socket
import struct
import time
from typing import Any

_LENGTH = struct.Struct("<I")


def send(connection: socket.socket, message: Any, until: float | None = None) -> None:
    """Send `message`, at the latest at `until` on the monotonic clock.

    Raises:
        TimeoutError: the other end didn't take it in time.
        OSError: the other end is gone.
        TypeError, ValueError: the message isn't JSON; nothing was sent.
    """
    payload = json.dumps(message).encode()  # ASCII: a lone surrogate travels as its escape
    _wait_at_most(connection, until)
    connection.sendall(_LENGTH.pack(len(payload)) + payload)


def receive(connection: socket.socket, until: float | None = None, max_bytes: int = 2**32) -> Any:
    """The next message, waited for until `until` on the monotonic clock.

    Raises:
        TimeoutError: it isn't complete by then.
        EOFError, OSError: the other end is gone.
        ValueError: it isn't JSON, or is longer than `max_bytes`.
    """
    (length,) = _LENGTH.unpack(_read(connection, _LENGTH.size, until))
    if length > max_bytes:
        raise ValueError(f"a message of {length} bytes, more than {max_bytes}")
    return json.loads(_read(connection, length, until))


def _read(connection: socket.socket, size: int, until: float | None) -> bytes:
    parts = bytearray()
    while len(parts) < size:
        _wait_at_most(connection, until)
        part = connection.recv(min(size - len(parts), 1 << 20))
        if not part:
            raise EOFError("the other end closed the connection")
        parts += part
    return bytes(parts)


def _wait_at_most(connection: socket.socket, until: float | None) -> None:
    if until is None:
        connection.settimeout(None)
        return
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.settimeout(left)
