"""Processes that make problems of reasoning-gym, the same ones however many processes there are."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import nemo_prorl
from nemo_prorl.errors import DataError


@dataclass(frozen=True)
class Job:
    """Items `start` to `start + count` of a data set under a seed, to be written to `path`."""

    dataset: str
    settings: dict[str, Any]
    seed: int
    start: int
    count: int
    path: str


def make_items(jobs: Sequence[Job], processes: int, done: Callable[[Job], None]) -> None:
    """Do the jobs in `processes` processes; `done` is told of each as it is done.

    Raises:
        DataError: a process died, or a data set can't be made at all.
    """
    waiting: SimpleQueue[Job] = SimpleQueue()
    for job in jobs:
        waiting.put(job)
    finished: SimpleQueue[Job | BaseException | None] = SimpleQueue()
    with ExitStack() as stack:
        # Each ends on the way out, whatever it is doing: its files are whole or not there.
        workers = [stack.enter_context(_Worker()) for _ in range(min(processes, len(jobs)))]
        for worker in workers:
            threading.Thread(target=_serve, args=(worker, waiting, finished), daemon=True).start()
        running = len(workers)
        while running:
            found = finished.get()
            if isinstance(found, BaseException):
                raise found
            if found is None:
                running -= 1
            else:
                done(found)


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
    """One process."""

    def __init__(self) -> None:
        package = str(Path(nemo_prorl.__file__).parent.parent)
        paths = [package, *filter(None, [os.environ.get("PYTHONPATH")])]
        fixed = {"PYTHONHASHSEED": "0", "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(paths)}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nemo_prorl.data.prepare.item_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **fixed},
        )

    def do(self, job: Job) -> None:
        """
        Raises:
            DataError: the process died, or couldn't.
        """
        assert self._process.stdin is not None and self._process.stdout is not None
        line = ""
        with suppress(OSError, ValueError):  # it is gone
            self._process.stdin.write(json.dumps(asdict(job)) + "\n")
            self._process.stdin.flush()
            line = self._process.stdout.readline()
        if not line:
            raise DataError(
                f"the process that makes items {job.start} to {job.start + job.count - 1} of {job.dataset!r} has died "
                "(out of memory?); start the same command again: it goes on from what is there"
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
