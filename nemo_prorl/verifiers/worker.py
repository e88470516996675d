"""A worker process of the verifier pool: `python -m nemo_prorl.verifiers.worker <socket> <parent's pid>`.

It makes each verifier once, at the first prompt that names it, and judges one text at a time. It ends when its parent
closes the connection or dies. It must stay light: importing torch here would cost every worker seconds and gigabytes.
"""

from __future__ import annotations

import ctypes
import math
import os
import resource
import signal
import socket
import sys
from collections.abc import Mapping
from typing import Any

from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.errors import ConfigError
from nemo_prorl.plugins import resolve
from nemo_prorl.verifiers import wire
from nemo_prorl.verifiers.base import Verifier

MEMORY_BYTES = 4 << 30  # of address space: sympy's and a plotting library's together stay below one
FILE_BYTES = 64 << 20
_PR_SET_PDEATHSIG = 1


def main(descriptor: int, parent: int) -> None:
    """Serve the pool at the other end of `descriptor` until it hangs up."""
    _die_with(parent)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    with socket.socket(fileno=descriptor) as connection:
        connection.set_inheritable(False)
        try:
            table = wire.receive(connection)["table"]
            wire.send(connection, {"ready": os.getpid()})
            _quiet()  # verifiers print; until here, standard error tells the pool why a start failed
            verifiers: dict[str, Verifier] = {}
            while True:
                request = wire.receive(connection)
                _limit_cpu(request["cpu_seconds"])
                wire.send(connection, _answer(request, verifiers, table))
        except (EOFError, ConnectionError):
            return


def _answer(request: Mapping[str, Any], verifiers: dict[str, Verifier], table: Mapping[str, str]) -> dict[str, Any]:
    name = request["verifier"]
    if "load" in request:
        try:
            verifiers[name] = resolve(name, table, "verifier")()
        except Exception as error:
            return {"failed": str(error) if isinstance(error, ConfigError) else _one_line(error)}
        return {"loaded": name}
    try:
        verdict = verifiers[name].check(request["reference"], request["text"])
        if not isinstance(verdict, Verdict):
            raise TypeError(f"check of verifier {name!r} returned {type(verdict).__name__}, expected a Verdict")
    except Exception as error:
        return {"raised": _one_line(error)}
    return {"reward": float(verdict.reward), "reason": str(verdict.reason), "outcome": verdict.outcome}


def _one_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


def _die_with(parent: int) -> None:
    """Be killed when the parent dies, even in the midst of a computation that never looks at the connection."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we asked
        os._exit(1)


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (allowed, hard))


def _limit_cpu(seconds: float) -> None:
    """End this process after `seconds` more of CPU time; where parents' deaths go unnoticed, nobody else would."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    _limit(resource.RLIMIT_CPU, math.ceil(usage.ru_utime + usage.ru_stime + seconds))


def _quiet() -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
