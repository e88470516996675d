"""Which process is meant, told so that another one can find out whether it still runs."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from nemo_prorl.errors import DataError


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of some host.

    place    host, its boot and the process namespace (a container may have its own): where a `pid` means something
    started  when it began, in the kernel's own count; a `pid` is given out again, the two together are not
    """

    host: str
    place: str
    pid: int
    started: str

    @classmethod
    def own(cls) -> ProcessIdentity:
        return cls(socket.gethostname(), _place(), os.getpid(), _started(os.getpid()) or "")

    @classmethod
    def from_json(cls, said: Mapping[str, Any]) -> ProcessIdentity:
        try:
            return cls(said["host"], said["place"], int(said["pid"]), said["started"])
        except (KeyError, TypeError, ValueError) as error:
            raise DataError(f"not a process: {said!r}") from error

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def is_here(self) -> bool:
        """Whether this host can tell if it runs."""
        return self.place == _place()

    @property
    def is_running(self) -> bool:
        """Whether it runs; to be asked only where `is_here`."""
        if self.started:
            return _started(self.pid) == self.started
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return True

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host}"


def _place() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id")
    try:
        return f"{socket.gethostname()} {boot.read_text().strip()} {os.readlink('/proc/self/ns/pid')}"
    except OSError:  # no Linux
        return socket.gethostname()


def _started(pid: int) -> str | None:
    """Field 22 of /proc/<pid>/stat, clock ticks after boot; None for no such process, a dead one included."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
