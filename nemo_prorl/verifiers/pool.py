"""Verdicts from warm worker processes, each within a deadline, whatever the text does to its verifier."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.errors import ShapeError, VerifierError
from nemo_prorl.verifiers.base import VERIFIERS
from nemo_prorl.verifiers.process import WorkerDiedError, WorkerProcess
from nemo_prorl.verifiers.tally import Tally

JOBS_PER_PROCESS = 1000  # then a fresh one takes over: algebra systems keep what they have computed
MAX_REASON_CHARS = 500


@dataclass(frozen=True)
class _Job:
    prompt: Prompt
    text: str
    future: Future[Verdict]


class VerifierPool:
    """Judges texts in `workers` processes, one text at a time each.

    A verdict always comes: what takes longer than `deadline_seconds` is killed with all it started and gets the
    outcome `timeout`; a verifier that raises, or whose process dies, gives `error`. Both have reward 0 and are counted
    by domain. A future fails, with VerifierError, only if no verifier could be asked: it can't be made, or the pool
    was closed.

    `table` maps verifiers' names to "module:Class"; a prompt may also name "your.module:Class" itself. Processes see
    this one's sys.path, but little of its environment. They are not a sandbox.

    Raises:
        VerifierError: the processes can't start.
    """

    def __init__(
        self,
        *,
        workers: int,
        deadline_seconds: float,
        max_error_rate: float,
        min_verdicts_to_judge: int,
        table: Mapping[str, str] = VERIFIERS,
    ) -> None:
        self._deadline_seconds = deadline_seconds
        self._table = table
        self._tally = Tally(max_error_rate=max_error_rate, min_verdicts_to_judge=min_verdicts_to_judge)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._processes: set[WorkerProcess] = set()
        started: list[Future[None]] = [Future() for _ in range(workers)]
        # A process dies with the thread that started it (Linux ties it to that): each thread starts its own.
        self._threads = [
            threading.Thread(target=self._serve, args=[future], name=f"verifier-{i}", daemon=True)
            for i, future in enumerate(started)
        ]
        for thread in self._threads:
            thread.start()
        try:
            for future in started:
                future.result()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> VerifierPool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def submit(self, prompt: Prompt, text: str) -> Future[Verdict]:
        """Have `text`, a whole response to `prompt`, judged by the prompt's verifier; from any thread."""
        future: Future[Verdict] = Future()
        with self._lock:
            if self._closed:
                raise VerifierError("the verifier pool is closed; submit inside of its `with`")
            self._jobs.put(_Job(prompt, text, future))
        return future

    def drain_metrics(self) -> dict[str, float]:
        """Since the last call, by domain: verdicts, counts and fractions by outcome, and latencies in seconds.

        Counts add up over ranks; fractions and latencies are this rank's.
        """
        return self._tally.drain()

    def check_health(self) -> None:
        """Raises:
        VerifierError: a domain's verifier fails so often that its rewards can't be trusted.
        """
        self._tally.check()

    def close(self) -> None:
        """End all processes; verdicts still awaited fail. A second call does nothing."""
        with self._lock:
            self._closed = True
            for process in self._processes:
                process.kill()
            for _ in self._threads:
                self._jobs.put(None)
        for thread in self._threads:
            thread.join()
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None and job.future.set_running_or_notify_cancel():
                job.future.set_exception(_closed_error())

    def _serve(self, started: Future[None]) -> None:
        """A thread's life: take a job, have it judged, tell its future."""
        process: WorkerProcess | None = None
        try:
            process = self._start()
            started.set_result(None)
        except BaseException as error:
            started.set_exception(error)
            return
        try:
            while (job := self._jobs.get()) is not None and not self._closed:
                process = self._answer(job, process)
            if job is not None and job.future.set_running_or_notify_cancel():
                job.future.set_exception(_closed_error())
        finally:
            self._end(process)

    def _answer(self, job: _Job, process: WorkerProcess | None) -> WorkerProcess | None:
        """Judge one job; gives the process that the next one may use."""
        if not job.future.set_running_or_notify_cancel():
            return process
        try:
            process = self._fresh(process)
            process.load(job.prompt.verifier)
            verdict, reusable = self._judge(job, process)
        except BaseException as error:  # the future must never be left waiting
            self._end(process)
            job.future.set_exception(_closed_error() if self._closed else error)
            return None
        if not reusable:
            self._end(process)
            process = None
            if self._closed:  # it was killed for that, not by the text
                job.future.set_exception(_closed_error())
                return None
        self._tally.add(job.prompt.domain, verdict)
        job.future.set_result(verdict)
        return process

    def _judge(self, job: _Job, process: WorkerProcess) -> tuple[Verdict, bool]:
        """The verdict, and whether the process can be asked again."""
        begun = time.monotonic()
        reusable = True
        try:
            verdict = _verdict(process.judge(job.prompt.verifier, job.prompt.reference, job.text))
        except TimeoutError:
            reusable = False
            verdict = Verdict(0.0, f"no verdict within {self._deadline_seconds:g} s", "timeout")
        except WorkerDiedError as error:
            reusable = False
            verdict = Verdict(0.0, str(error), "error")
        except (TypeError, ValueError) as error:
            verdict = Verdict(0.0, f"reference of prompt {job.prompt.uid!r} isn't JSON: {error}", "error")
        return replace(verdict, reason=_readable(verdict.reason), seconds=time.monotonic() - begun), reusable

    def _fresh(self, process: WorkerProcess | None) -> WorkerProcess:
        if process is not None and process.is_idle and process.answered < JOBS_PER_PROCESS:
            return process
        self._end(process)
        return self._start()

    def _start(self) -> WorkerProcess:
        with self._lock:
            if self._closed:
                raise _closed_error()
            process = WorkerProcess(self._table, self._deadline_seconds)
            self._processes.add(process)
        try:
            process.greet()
        except BaseException:
            self._end(process)
            raise
        return process

    def _end(self, process: WorkerProcess | None) -> None:
        if process is not None:
            process.end()
            with self._lock:
                self._processes.discard(process)


def _verdict(reply: Mapping[str, Any]) -> Verdict:
    if "raised" in reply:
        return Verdict(0.0, f"the verifier raised {reply['raised']}", "error")
    try:
        return Verdict(reply["reward"], reply["reason"], reply["outcome"])
    except (KeyError, TypeError, ShapeError) as error:
        raise WorkerDiedError(f"the verifier process answered {str(reply)[:100]!r}") from error


def _readable(reason: str) -> str:
    """A reason quotes the text at times: cut, and without what UTF-8 can't hold."""
    return reason[:MAX_REASON_CHARS].encode("utf-8", "backslashreplace").decode()


def _closed_error() -> VerifierError:
    return VerifierError("the verifier pool was closed before this text was judged")
