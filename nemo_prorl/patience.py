"""Waiting for what others do, but not for ever."""

from __future__ import annotations

from collections.abc import Callable
from threading import Thread


def ended_within(seconds: float, work: Callable[[], object]) -> bool:
    """Whether `work`, done in a thread of its own, came to its end; what it raises is raised here.

    Work that hangs is left behind, and ends with the process.

    >>> ended_within(60.0, lambda: None)
    True
    """
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:
            failures.append(error)

    thread = Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if failures:
        raise failures[0]
    return not thread.is_alive()
