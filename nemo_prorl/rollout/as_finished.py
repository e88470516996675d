"""Many requests under way at once, and their results as they come: for engines that work beside this process's loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractAsyncContextManager, nullcontext
from queue import Empty, SimpleQueue
from typing import Any, Generic, TypeVar

from nemo_prorl.errors import EngineFailedError

J = TypeVar("J")
R = TypeVar("R")

SECONDS_TO_LET_GO = 30.0


def as_finished(
    jobs: Iterable[J],
    work: Callable[[J], Awaitable[R]],
    *,
    at_once: int,
    silent_seconds: float,
    who: str,
    longer_by: str,
    around: AbstractAsyncContextManager[Any] | None = None,
) -> Iterator[R]:
    """`work` of every job, at most `at_once` at a time, begun in the order of `jobs`; results as they are there.

    All `work` runs in one event loop, in a thread of its own, so that it goes on while the consumer is busy; `around`
    is open there meanwhile. Closing the iterator cancels what is under way. What `work` raises ends it all and is
    raised here.

    Raises:
        EngineFailedError: no job was finished for `silent_seconds`; `who` is named, and the setting `longer_by` that
            allows for more.
    """
    crew = _Crew(jobs, work, at_once, around or nullcontext())
    crew.thread.start()
    try:
        while True:
            try:
                result = crew.results.get(timeout=silent_seconds)
            except Empty:
                raise EngineFailedError(
                    f"{who} has finished no completion for {silent_seconds:g} s, so it is taken for dead. Look at its "
                    f"own log; if completions really take so long, raise {longer_by}."
                ) from None
            if isinstance(result, _Over):
                if result.error is not None:
                    raise result.error
                return
            yield result
    finally:
        crew.stop()


class _Over:
    """The last thing that a crew says."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.error = error


class _Crew(Generic[J, R]):
    """The thread, its loop, and as many workers in it as may work at once."""

    def __init__(
        self,
        jobs: Iterable[J],
        work: Callable[[J], Awaitable[R]],
        at_once: int,
        around: AbstractAsyncContextManager[Any],
    ) -> None:
        self._jobs, self._work, self._at_once, self._around = iter(jobs), work, at_once, around
        self.results: SimpleQueue[R | _Over] = SimpleQueue()
        self._loop = asyncio.new_event_loop()
        self._everybody: asyncio.Task[None] | None = None
        self._stopped, self._lock = False, threading.Lock()
        # A daemon: work that ignores being cancelled must not keep the process alive.
        self.thread = threading.Thread(target=self._run, name="rollout", daemon=True)

    def stop(self) -> None:
        """Cancel what is under way and wait for the thread, but not for ever."""
        with self._lock:
            self._stopped = True
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._cancel)
        self.thread.join(SECONDS_TO_LET_GO)

    def _cancel(self) -> None:
        if self._everybody is not None:
            self._everybody.cancel()

    def _run(self) -> None:
        over = _Over()
        try:
            self._loop.run_until_complete(self._all())
        except asyncio.CancelledError:
            pass
        except BaseExceptionGroup as group:
            over = _Over(_first(group))
        except BaseException as error:
            over = _Over(error)
        finally:
            with self._lock:
                self._loop.close()
            self.results.put(over)

    async def _all(self) -> None:
        self._everybody = asyncio.current_task()
        if self._stopped:  # before there was anybody to cancel
            return
        async with self._around, asyncio.TaskGroup() as group:
            for _ in range(self._at_once):
                group.create_task(self._one())

    async def _one(self) -> None:
        for job in self._jobs:
            self.results.put(await self._work(job))


def _first(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """The first error of a group of groups."""
    first = group.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
