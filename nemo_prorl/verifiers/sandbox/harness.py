"""The last lines of ours before a program takes over its process, and the first after it.

Whatever the program does to this module, it does to itself alone: all that leaves the process is what it has written
and an exit code, and both are no more than claims that somebody else compares with what is expected.
"""

from __future__ import annotations

import atexit
import gc
import sys
import threading
import types
from _io import _IOBase  # what all open files are; io's own base class takes longer to ask
from collections.abc import Callable
from contextlib import suppress
from json import dumps, loads
from os import _exit, write
from typing import Any, NoReturn

FAILED = 1
RESULT_DESCRIPTOR = 3  # where a function's value goes; a script has stdout
_MAX_DETAIL_BYTES = 1000
_finish_threads: Callable[[], None] = threading._shutdown  # type: ignore[attr-defined]
_finish_atexit: Callable[[], None] = atexit._run_exitfuncs
_collect_garbage: Callable[[], None] = gc.enable  # of its own from now on
_stdout, _sys = sys.stdout, sys


def run_script(code: types.CodeType) -> NoReturn:
    """Run it as `python main.py` would: by its end the exit code is told, threads have ended, all is flushed."""
    _collect_garbage()
    module = _module("__main__")
    exit_code = _guarded(lambda: exec(code, module))
    _end(exit_code or _guarded(lambda: _finish(module)))


def call_function(code: types.CodeType, name: str, arguments: str) -> NoReturn:
    """Call a function, or a method of class Solution, on `arguments`, JSON, one a line, and write its value as JSON."""
    _collect_garbage()

    def call() -> None:
        values = [loads(line) for line in arguments.split("\n") if line.strip()]
        module = _module("solution")
        exec(code, module)
        function = module[name] if name in module else getattr(module["Solution"](), name)
        text = dumps(function(*values), default=_plain).encode()
        while text:
            text = text[write(RESULT_DESCRIPTOR, text) :]

    _end(_guarded(call))


def _module(name: str) -> dict[str, Any]:
    module = types.ModuleType(name)
    _sys.modules[name] = module
    module.__dict__["__file__"] = "main.py"
    return module.__dict__


def _plain(value: Any) -> Any:
    """numpy's arrays and numbers as Python's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"it returned a {type(value).__name__}, which JSON can't say")


def _guarded(work: Callable[[], object]) -> int:
    """Do it; the exit code, after a line on stderr if it raised."""
    try:
        work()
        return 0
    except SystemExit as leaving:
        return 0 if leaving.code is None or leaving.code == 0 else FAILED
    except BaseException as error:
        with suppress(BaseException):
            write(2, f"\n{type(error).__name__}: {error}".encode(errors="backslashreplace")[:_MAX_DETAIL_BYTES])
        return FAILED


def _finish(module: dict[str, Any]) -> None:
    """What an interpreter does at its end, without taking its memory apart."""
    _finish_threads()
    _finish_atexit()
    _flush_stdout()
    for value in list(module.values()):
        if issubclass(type(value), _IOBase):  # a file that is still open
            with suppress(Exception):
                value.flush()
    _flush_stdout()  # some of these write to it


def _flush_stdout() -> None:
    for stream in (_sys.stdout, _stdout):
        if stream is not None and not getattr(stream, "closed", False):
            stream.flush()


def _end(exit_code: int) -> NoReturn:
    while True:
        _exit(exit_code)
