"""Verdicts from warm worker processes, each within a deadline, whatever the text does to its verifier."""

from __future__ import annotations

import logging
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
from nemo_prorl.verifiers.permission import UnconfinedError, objection
from nemo_prorl.verifiers.process import ForkServer, ForkServerDiedError, WorkerDiedError
from nemo_prorl.verifiers.sandbox import SandboxReport, SandboxSettings
from nemo_prorl.verifiers.tally import Tally
from nemo_prorl.verifiers.workers import Workers

log = logging.getLogger(__name__)


_RAISED = "the verifier raised"
_NO_JSON = "the reference isn't JSON"


@dataclass(frozen=True)
class _Job:
    prompt: Prompt
    text: str
    future: Future[Verdict]
    is_counted: bool = True


class VerifierPool:
    """Judges texts in `workers` processes, one text at a time each.

    A verdict always comes: what takes longer than `deadline_seconds` is killed with all it started and gets the
    outcome `timeout`; a verifier that raises, or whose process dies, gives `error`. Both have reward 0 and are counted
    by domain. A future fails, with VerifierError, only if no verifier could be asked: it can't be made, it refuses, or
    the pool was closed.

    Workers are forked from a process that has imported the verifiers, so a fresh one costs milliseconds; one takes over
    after `verdicts_per_process`, since algebra systems keep what they have computed. Before it sees a text, a worker
    gives up the network, other processes, and all files but Python's own, in the layers that this host allows. Where
    these don't make the level that `sandbox` demands, verifiers that evaluate texts refuse, and the future of such a
    prompt fails; unless `sandbox` allows that. Verifiers with `confined = False` live in processes of their own, which
    keep their powers.

    `table` maps verifiers' names to "module:Class"; a prompt may also name "your.module:Class" itself. Processes see
    this one's sys.path, but little of its environment.

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
        sandbox: SandboxSettings | None = None,
        verdicts_per_process: int = 1000,
        table: Mapping[str, str] = VERIFIERS,
    ) -> None:
        self._deadline_seconds = deadline_seconds
        self._sandbox = sandbox or SandboxSettings()
        self._verdicts_per_process = verdicts_per_process
        self._table = table
        self._tally = Tally(max_error_rate=max_error_rate, min_verdicts_to_judge=min_verdicts_to_judge)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._told = False
        self._server: ForkServer | None = None
        started: list[Future[None]] = [Future() for _ in range(workers)]
        # One of these starts the fork server, and starts it again should it have died.
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
        """Have `text`, a whole response to `prompt`, judged by the prompt's verifier; from any thread.

        Where the prompt ends with <think>, what the table's verifiers judge begins with it, so that a response without
        </think> answers nothing. A verifier of your own gets the response as it is.
        """
        opens_reasoning = prompt.opens_reasoning and prompt.verifier in self._table
        return self._submit(_Job(prompt, f"<think>{text}" if opens_reasoning else text, Future()))

    def objection(self, prompt: Prompt) -> str | None:
        """Why no response to `prompt` can be judged: its verifier can't read the reference. None: it can.

        Counted nowhere. It says the same whenever and wherever it is asked.
        """
        verdict = self._submit(_Job(prompt, "", Future(), is_counted=False)).result()
        is_about_reference = verdict.outcome == "error" and verdict.reason.startswith((_RAISED, _NO_JSON))
        return verdict.reason if is_about_reference else None

    def _submit(self, job: _Job) -> Future[Verdict]:
        with self._lock:
            if self._closed:
                raise VerifierError("the verifier pool is closed; submit inside of its `with`")
            self._jobs.put(job)
        return job.future

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
            server = self._server
            for _ in self._threads:
                self._jobs.put(None)
        if server is not None:
            server.close()  # first: a thread may wait for an answer that takes long
        for thread in self._threads:
            thread.join()
        while not self._jobs.empty():
            job = self._jobs.get()
            if job is not None and job.future.set_running_or_notify_cancel():
                job.future.set_exception(_closed_error())

    def _serve(self, started: Future[None]) -> None:
        """A thread's life: take a job, have it judged, tell its future."""
        workers = Workers(self._running_server, self._deadline_seconds, self._verdicts_per_process)
        try:
            workers.ready(confined=True)
            started.set_result(None)
        except BaseException as error:
            started.set_exception(error)
            return
        try:
            while (job := self._jobs.get()) is not None and not self._closed:
                if job.future.set_running_or_notify_cancel():
                    self._answer(job, workers)
            if job is not None and job.future.set_running_or_notify_cancel():
                job.future.set_exception(_closed_error())
        finally:
            workers.end()

    def _answer(self, job: _Job, workers: Workers) -> None:
        try:
            verdict = self._judge(job, workers)
        except BaseException as error:  # the future must never be left waiting
            job.future.set_exception(_closed_error() if self._closed else error)
            return
        if self._closed and verdict.outcome in ("timeout", "error"):  # it was killed for that, not by the text
            job.future.set_exception(_closed_error())
            return
        if job.is_counted:
            self._tally.add(job.prompt.domain, verdict)
        job.future.set_result(verdict)

    def _judge(self, job: _Job, workers: Workers) -> Verdict:
        try:
            return self._ask(job, workers)
        except ForkServerDiedError:
            if self._closed:
                raise
            log.warning("the verifiers' fork server is gone (out of memory?) and is started again")
        try:
            return self._ask(job, workers)  # this text has no part in that
        except ForkServerDiedError as error:
            raise VerifierError(f"verifier processes don't stay alive: {error}; is memory short?") from error

    def _ask(self, job: _Job, workers: Workers) -> Verdict:
        worker = workers.of(job.prompt.verifier)
        begun = time.monotonic()
        try:
            verdict = _verdict(worker.judge(job.prompt.verifier, job.prompt.reference, job.text))
        except TimeoutError:
            verdict = Verdict(0.0, f"no verdict within {self._deadline_seconds:g} s", "timeout")
            worker.end()
        except WorkerDiedError as error:
            verdict = Verdict(0.0, str(error), "error")
            worker.end()
        except (TypeError, ValueError) as error:
            verdict = Verdict(0.0, f"{_NO_JSON}, of prompt {job.prompt.uid!r}: {error}", "error")
        return replace(verdict, reason=_readable(verdict.reason), seconds=time.monotonic() - begun)

    def _running_server(self) -> ForkServer:
        """The fork server, started by the first thread that needs it, and again should it have died."""
        with self._lock:
            if self._closed:
                raise _closed_error()
            if self._server is not None and not self._server.is_alive:
                self._server.close()
                self._server = None
            if self._server is None:
                self._server = ForkServer(self._table, self._sandbox)
                self._tell_once(self._server.report)
            return self._server

    def _tell_once(self, report: SandboxReport) -> None:
        if self._told:
            return
        self._told = True
        if report.satisfies(self._sandbox.level):
            log.info("verifier processes are confined, level %s", report.level)
        else:
            log.warning("!!! " + objection(self._sandbox, report).replace("\n", "\n!!! "))


def _verdict(reply: Mapping[str, Any]) -> Verdict:
    if "refused" in reply:
        raise UnconfinedError(reply["refused"])
    if "raised" in reply:
        return Verdict(0.0, f"{_RAISED} {reply['raised']}", "error")
    try:
        return Verdict(reply["reward"], reply["reason"], reply["outcome"])
    except (KeyError, TypeError, ShapeError) as error:
        raise WorkerDiedError(f"the verifier process answered {str(reply)[:100]!r}") from error


def _readable(reason: str) -> str:
    """A reason quotes the text at times: without what UTF-8 can't hold."""
    return reason.encode("utf-8", "backslashreplace").decode()


def _closed_error() -> VerifierError:
    return VerifierError("the verifier pool was closed before this text was judged")
