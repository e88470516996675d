"""Resource limits of a process and of what it starts, never to be raised again."""

from __future__ import annotations

import resource

from nemo_prorl.verifiers.sandbox.contract import SandboxSettings

_NO_LIMIT = resource.RLIM_INFINITY
_STACK_BYTES = 128 << 20  # as judges of contests allow: memoised recursion takes C's stack; a program may raise it


def apply(settings: SandboxSettings, *, threads: int | None) -> None:
    """What holds for all processes of a sandbox. `threads`: of this user together, or None where others share it."""
    set_limit(resource.RLIMIT_AS, settings.memory_bytes)
    set_limit(resource.RLIMIT_NOFILE, settings.max_open_files)
    set_limit(resource.RLIMIT_CORE, 0)
    hard = resource.getrlimit(resource.RLIMIT_STACK)[1]
    resource.setrlimit(resource.RLIMIT_STACK, (_STACK_BYTES if hard == _NO_LIMIT else min(_STACK_BYTES, hard), hard))
    if threads is not None:
        set_limit(resource.RLIMIT_NPROC, threads)
    for name in ("RLIMIT_MEMLOCK", "RLIMIT_MSGQUEUE", "RLIMIT_RTPRIO", "RLIMIT_NICE"):
        if hasattr(resource, name):  # Linux
            set_limit(getattr(resource, name), 0)


def address_space_bytes() -> int:
    """What RLIMIT_AS counts, of this process; 0 where /proc doesn't tell."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[0]) * resource.getpagesize()
    except OSError:
        return 0


def set_limit(which: int, value: int) -> None:
    """Both limits, soft and hard, at most what they are."""
    hard = resource.getrlimit(which)[1]
    allowed = value if hard == _NO_LIMIT else min(value, hard)
    resource.setrlimit(which, (allowed, allowed))
