"""Processes that make problems of reasoning-gym, the same ones however many processes there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from tempfile import TemporaryDirectory
from typing import Any

import nemo_prorl
from nemo_prorl.errors import DataError

SECONDS_AN_ITEM = 60.0  # on average; the slowest of the paper's tasks takes half a second of processor time


@dataclass(frozen=True)
class Job:
    """Items `start` to `start + count` of a data set under a seed, to be written to `path`."""

    dataset: str
    settings: dict[str, Any]
    seed: int
    start: int
    count: int
    path: str


class ItemFactory:
    """So many processes, started when there is something to do for them, and ended by the `with`.

    What a process is doing then is lost and no more: its files are whole or not there.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._workers: list[_Worker] = []
        self._stack = ExitStack()

    def make(self, jobs: Sequence[Job], done: Callable[[Job], None]) -> None:
        """Do the jobs; `done` is told of each as it is done.

        Raises:
            DataError: a process died, or took too long, or a data set can't be made at all.
        """
        waiting: SimpleQueue[Job] = SimpleQueue()
        for job in jobs:
            waiting.put(job)
        finished: SimpleQueue[Job | BaseException | None] = SimpleQueue()
        running = min(self._processes, len(jobs))
        while len(self._workers) < running:
            self._workers.append(self._stack.enter_context(_Worker()))
        for worker in self._workers[:running]:
            threading.Thread(target=_serve, args=(worker, waiting, finished), daemon=True).start()
        while running:
            found = finished.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                running -= 1
            else:
                done(found)

    def __enter__(self) -> ItemFactory:
        return self

    def __exit__(self, *error: object) -> None:
        self._stack.close()


def _serve(worker: _Worker, waiting: SimpleQueue[Job], finished: SimpleQueue[Job | BaseException | None]) -> None:
    """A thread's life: jobs for its process until there are no more."""
    try:
        while True:
            try:
                job = waiting.get_nowait()
            except Empty:
                break
            worker.do(job)
            finished.put(job)
        finished.put(None)
    except BaseException as error:  # for the thread that waits
        finished.put(error)


class _Worker:
    """One process, in a folder of its own that goes with it, and without our environment.

    The items of one task run third-party snippets; they have no business with our files, keys and tokens.
    """

    def __init__(self) -> None:
        self._scratch = TemporaryDirectory(prefix="prorl_items_")
        package = str(Path(nemo_prorl.__file__).parent.parent)
        inherited = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
        environment = {
            **inherited,
            "PYTHONPATH": os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])]),
            "PYTHONHASHSEED": "0",
            "OMP_NUM_THREADS": "1",
            "LC_ALL": "C.UTF-8",
            **dict.fromkeys(("HOME", "TMPDIR"), self._scratch.name),
        }
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nemo_prorl.data.prepare.item_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=environment,
            cwd=self._scratch.name,
        )

    def do(self, job: Job) -> None:
        """
        Raises:
            DataError: the process died, took too long, or couldn't.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        order, line = json.dumps(asdict(job)) + "\n", ""
        seconds, begun = job.count * SECONDS_AN_ITEM, time.monotonic()
        deadline = threading.Timer(seconds, self._process.kill)
        deadline.start()
        with suppress(OSError, ValueError):  # it is gone
            self._process.stdin.write(order)
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        deadline.cancel()
        if not line:
            items = f"items {job.start} to {job.start + job.count - 1} of {job.dataset!r}"
            if time.monotonic() - begun >= seconds:
                raise DataError(
                    f"{items} with {job.settings} aren't made after {seconds:g} seconds; give the task other settings, "
                    "or leave it out"
                )
            raise DataError(
                f"the process that makes {items} has died (out of memory?); start the same command again: it goes on "
                "from what is there"
            )
        if "error" in (answer := json.loads(line)):
            raise DataError(f"reasoning-gym can't make {job.dataset!r} with {job.settings}:\n{answer['error']}")

    def __enter__(self) -> _Worker:
        return self

    def __exit__(self, *error: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                with suppress(OSError, ValueError):  # it died with a job unread
                    stream.close()
        self._scratch.cleanup()
