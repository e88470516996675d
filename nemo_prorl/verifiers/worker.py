"""A worker process of the verifier pool, forked from `fork_server`.

It gives up its powers before it sees a text, makes each verifier once, at the first prompt that names it, and judges
one text at a time. It ends when the pool closes the connection or when the fork server dies. It must stay light:
importing torch here would cost every pool seconds and gigabytes.
"""

from __future__ import annotations

import inspect
import math
import os
import resource
import socket
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.errors import ConfigError, VerifierError
from nemo_prorl.plugins import resolve
from nemo_prorl.verifiers import wire
from nemo_prorl.verifiers.base import Verifier
from nemo_prorl.verifiers.permission import UnconfinedError, confine_for_good
from nemo_prorl.verifiers.sandbox import SandboxReport, SandboxSettings, kernel

MEMORY_BYTES = 4 << 30  # of address space: sympy's and a plotting library's together stay below one
FILE_BYTES = 64 << 20
MAX_OPEN_FILES = 256
MAX_REASON_CHARS = 500  # a reason quotes the text at times
MAX_ERROR_CHARS = 4000  # an error may, too, or list all that is wrong with a reference


@dataclass(frozen=True)
class Confinement:
    """What workers are told of the sandbox; `report` says what holds on this host."""

    settings: SandboxSettings
    report: SandboxReport


def main(descriptor: int, server: int, table: Mapping[str, str], confinement: Confinement, tmp: Path | None) -> None:
    """Serve the pool at the other end of `descriptor` until it hangs up.

    A confined worker writes to `tmp` and nowhere else; `tmp` None: keep all powers.
    """
    kernel.die_with_parent(server)
    _limit(resource.RLIMIT_AS, MEMORY_BYTES)
    _limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    _limit(resource.RLIMIT_CORE, 0)
    _quiet()
    with socket.socket(fileno=descriptor) as connection:
        connection.set_inheritable(False)
        try:
            wire.send(connection, {"ready": os.getpid()} if tmp is None else _confined(confinement, tmp))
            _serve(connection, table, confinement.settings)
        except (EOFError, ConnectionError):
            return


def _confined(confinement: Confinement, tmp: Path) -> dict[str, Any]:
    settings = replace(
        confinement.settings, memory_bytes=MEMORY_BYTES, output_bytes=FILE_BYTES, max_open_files=MAX_OPEN_FILES
    )
    try:
        confine_for_good(settings, confinement.report, tmp)
    except VerifierError as error:
        return {"failed": str(error)}
    except Exception:
        return {"failed": traceback.format_exc(limit=-5)}
    return {"ready": os.getpid()}


def _serve(connection: socket.socket, table: Mapping[str, str], sandbox: SandboxSettings) -> NoReturn:
    verifiers: dict[str, Verifier] = {}
    limit = 0
    while True:
        request = wire.receive(connection)
        if time.process_time() + request["cpu_seconds"] > limit:
            limit = _limit_cpu(2 * request["cpu_seconds"])
        wire.send(connection, _answer(request, verifiers, table, sandbox))


def _answer(
    request: Mapping[str, Any],
    verifiers: dict[str, Verifier],
    table: Mapping[str, str],
    sandbox: SandboxSettings,
) -> dict[str, Any]:
    name = request["verifier"]
    if "load" in request:
        try:
            verifiers[name] = _made(resolve(name, table, "verifier"), sandbox)
        except Exception as error:
            return {"failed": str(error) if isinstance(error, ConfigError) else told(error)}
        return {"loaded": name}
    try:
        verdict = verifiers[name].check(request["reference"], request["text"])
        if not isinstance(verdict, Verdict):
            raise TypeError(f"check of verifier {name!r} returned {type(verdict).__name__}, expected a Verdict")
    except UnconfinedError as error:
        return {"refused": str(error)}
    except Exception as error:
        return {"raised": told(error)}
    return {
        "reward": float(verdict.reward),
        "reason": str(verdict.reason)[:MAX_REASON_CHARS],
        "outcome": verdict.outcome,
    }


def _made(verifier: Callable[..., Verifier], sandbox: SandboxSettings) -> Verifier:
    """A verifier that has a sandbox of its own is told what is demanded of it."""
    takes_settings = "sandbox" in inspect.signature(verifier).parameters
    return verifier(sandbox=sandbox) if takes_settings else verifier()


def told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARS]


def _limit(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (allowed, hard))


def _limit_cpu(seconds: float) -> int:
    """End this process after `seconds` more of CPU time; where parents' deaths go unnoticed, nobody else would."""
    limit = math.ceil(time.process_time() + seconds)
    _limit(resource.RLIMIT_CPU, limit)
    return limit


def _quiet() -> None:
    """Verifiers print; what the fork server prints tells the pool why a start failed."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for standard in (1, 2):
        os.dup2(nowhere, standard)
    os.close(nowhere)
