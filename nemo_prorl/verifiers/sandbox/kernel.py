"""The door to Linux: the calls that isolation is made of and that Python has no name for, each of this process only,
and what else of processes is asked in several places.

Every call raises OSError, with the call and its subject in the message, when the kernel refuses.
"""

from __future__ import annotations

import ctypes
import os
import platform
import signal
import struct
import sys
import threading
from functools import cache
from typing import Any

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT = 1, 2, 4, 8, 32
MS_NOATIME, MS_NODIRATIME, MS_BIND, MS_REC, MS_PRIVATE, MS_RELATIME = (
    1 << 10,
    1 << 11,
    1 << 12,
    1 << 14,
    1 << 18,
    1 << 21,
)
MNT_DETACH = 2

PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_KEEPCAPS, PR_SET_SECCOMP = 1, 4, 8, 22
PR_SET_CHILD_SUBREAPER, PR_SET_NO_NEW_PRIVS = 36, 38
_PR_GET_PDEATHSIG = 2

CAP_DAC_READ_SEARCH, CAP_SETGID, CAP_SETUID, CAP_SYS_ADMIN = 2, 6, 7, 21
_CAPABILITY_VERSION_3 = 0x20080522

# The few calls that glibc has no function for. The Landlock numbers are the same on all architectures.
_NUMBERS = {
    "x86_64": {"pivot_root": 155, "capget": 125, "capset": 126},
    "aarch64": {"pivot_root": 41, "capget": 90, "capset": 91},
}
LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446


def unshare(flags: int) -> None:
    """Leave the namespaces of `flags` (CLONE_NEW...) for new ones."""
    _checked(_libc().unshare(flags), "unshare")


def mount(source: str | None, target: str, kind: str | None, flags: int, data: str = "") -> None:
    encoded = [None if text is None else os.fsencode(text) for text in (source, target, kind)]
    _checked(_libc().mount(*encoded, ctypes.c_ulong(flags), data.encode() or None), f"mount {target}")


def detach(target: str) -> None:
    """Unmount, at once for who looks and for good when the last user is gone."""
    _checked(_libc().umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(new_root: str, old_root: str) -> None:
    raw("pivot_root", _number("pivot_root"), os.fsencode(new_root), os.fsencode(old_root))


def prctl(option: int, argument: int = 0, pointer: Any = None) -> None:
    if _libc().prctl(option, argument, pointer, 0, 0) < 0:
        _checked(-1, f"prctl {option}")


def fork() -> int:
    """As os.fork, for a process with a single thread: without what Python does after a fork, which touches hundreds of
    pages to mend what only other threads could have broken, and gives `random` a new seed."""
    return int(_forking().fork())


def death_signal() -> int:
    """The signal that this process gets when its parent ends; 0 for none."""
    found = ctypes.c_int(0)
    prctl(_PR_GET_PDEATHSIG, ctypes.addressof(found))
    return found.value


def die_with_parent(parent: int, how: signal.Signals = signal.SIGKILL) -> None:
    """Be killed when the parent ends, whatever this process is at by then; at once, if it has already ended.

    Not on Linux alone, but elsewhere it only looks once.
    """
    if sys.platform == "linux":
        prctl(PR_SET_PDEATHSIG, how)
    if os.getppid() != parent:
        os._exit(1)


def thread_count() -> int:
    """Of this process; where /proc doesn't tell, of Python's own."""
    try:
        return len(os.listdir("/proc/self/task"))
    except OSError:
        return threading.active_count()


def ending(exit_code: int) -> str:
    """How a process ended, by its exit code, which is below 0 for a signal."""
    if exit_code >= 0:
        return f"exit code {exit_code}"
    names = {member.value: member.name for member in signal.Signals}  # not all signals have one
    return f"killed by {names.get(-exit_code, f'signal {-exit_code}')}"


def has_capability(number: int) -> bool:
    """Whether this process may now use a capability (CAP_...), within its user namespace."""
    header, data = _capability_buffers()
    raw("capget", _number("capget"), header, data)
    effective = struct.unpack("<6I", data.raw)
    return bool(effective[3 * (number // 32)] >> (number % 32) & 1)


def keep_capabilities(*numbers: int) -> None:
    """Give up every capability but these, for good, and every way to gain one."""
    low = sum(1 << number for number in numbers if number < 32)
    header, data = _capability_buffers(low)
    raw("capset", _number("capset"), header, data)
    prctl(PR_SET_NO_NEW_PRIVS, 1)


def raw(name: str, number: int, *arguments: Any) -> int:
    """A system call by its number."""
    wide = [ctypes.c_long(value) if isinstance(value, int) else value for value in arguments]
    found: int = _libc().syscall(ctypes.c_long(number), *wide)
    return _checked(found, name)


def machine() -> str:
    """The architecture as the kernel's tables name it."""
    return {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine())


@cache
def _libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    libc.prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
    return libc


@cache
def _forking() -> ctypes.PyDLL:
    """It keeps the interpreter's lock while it calls, so that the child has it too."""
    return ctypes.PyDLL(None, use_errno=True)


def _number(name: str) -> int:
    numbers = _NUMBERS.get(machine())
    if numbers is None:
        raise OSError(f"{name}: its number on {machine()} isn't known here, only on {', '.join(_NUMBERS)}")
    return numbers[name]


def _capability_buffers(low: int = 0) -> tuple[Any, Any]:
    header = ctypes.create_string_buffer(struct.pack("<Ii", _CAPABILITY_VERSION_3, 0), 8)
    data = ctypes.create_string_buffer(struct.pack("<6I", low, low, 0, 0, 0, 0), 24)
    return header, data


def _checked(found: int, what: str) -> int:
    if found < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return found
