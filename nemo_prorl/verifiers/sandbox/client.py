"""A sandbox as its users see it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, cast, get_args

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.sandbox.contract import Program, Ran, SandboxSettings, Status
from nemo_prorl.verifiers.sandbox.link import Link
from nemo_prorl.verifiers.sandbox.report import SandboxReport

log = logging.getLogger(__name__)

GRACE_SECONDS = 2.0  # beyond the budget, for the sandbox to say that it is spent
_MAX_DETAIL_CHARS = 300


class Sandbox:
    """A warm process in which programs run, one at a time, each input in a process of its own. Use it with `with`.

    It may be made in one thread and used in another, by one at a time. It ends with the process that made it, however
    that ends, and leaves no process and no file behind.

    Raises:
        VerifierError: this host allows less than the settings demand; the message has the report and what to do.
    """

    def __init__(self, settings: SandboxSettings) -> None:
        self._settings = settings
        self._in_use = threading.Lock()
        self._closed = False
        self._link = Link(settings)
        self.report = self._link.report
        if not self.report.satisfies(settings.level):
            log.warning("programs of a model run at level %r only:\n%s", self.report.level, self.report.describe())

    def __enter__(self) -> Sandbox:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(self, program: Program, inputs: Iterable[str], *, budget_seconds: float) -> Iterator[Ran]:
        """What comes of each input, one after the other. One budget of wall time holds for compiling and all inputs.

        An input is what stdin says; for a function, its arguments as JSON, one a line. Of the inputs the sandbox knows
        at most the present one.

        Raises:
            VerifierError: the sandbox was closed, is in use, was ended from outside, or can't start again after that;
                or an input is larger than half of `tmp_bytes`.
        """
        if not self._in_use.acquire(blocking=False):
            raise VerifierError("a sandbox runs one program at a time; make one for each thread")
        try:
            yield from self._run(program, inputs, budget_seconds)
        finally:
            self._in_use.release()

    def close(self) -> None:
        """End all its processes and wait until they are gone. A second call does nothing."""
        self._closed = True
        self._link.close()

    def _run(self, program: Program, inputs: Iterable[str], budget_seconds: float) -> Iterator[Ran]:
        talk = _Talk(self._fresh_link(), self._settings, budget_seconds)
        over = talk.begin(program)
        try:
            for text in inputs:
                ran = talk.run(text) if over is None else over
                if ran.status == "timeout":
                    over = Ran("not_run", b"", 0.0, "the budget was spent before")
                elif not talk.is_on:
                    over = ran
                yield ran
        finally:
            talk.end()

    def _fresh_link(self) -> Link:
        if self._closed:
            raise VerifierError("the sandbox is closed; run programs inside of its `with`")
        if self._link.is_broken:
            self._link.close()
            self._link = Link(self._settings)
        return self._link


class _Talk:
    """The conversation about one program. `is_on` as long as inputs can be sent."""

    def __init__(self, link: Link, settings: SandboxSettings, budget_seconds: float) -> None:
        self._link = link
        self._settings = settings
        self._budget_seconds = budget_seconds
        self._left = budget_seconds
        self.is_on = False

    def begin(self, program: Program) -> Ran | None:
        """Have it compiled; what every input comes to when it can't be."""
        begun = time.monotonic()
        job = {"source": program.source, "function": program.function, "budget_seconds": self._budget_seconds}
        self.is_on = True
        ran = self._ask(job, b"")
        self._left -= time.monotonic() - begun
        self.is_on = self.is_on and ran.status == "ok"
        return None if self.is_on else ran

    def run(self, text: str) -> Ran:
        data = text.encode(errors="surrogatepass")
        if len(data) > self._settings.tmp_bytes // 2:
            raise VerifierError(
                f"an input of {len(data)} bytes is more than half of the {self._settings.tmp_bytes} bytes that the "
                f"sandbox has for files; raise tmp_bytes, or drop the problem from the data"
            )
        ran = self._ask({}, data)
        self._left -= ran.seconds
        return ran

    def end(self) -> None:
        if self.is_on and not self._link.is_broken:
            self._link.tell({"end": True}, time.monotonic() + GRACE_SECONDS)
        self.is_on = False

    def _ask(self, header: Mapping[str, Any], body: bytes) -> Ran:
        begun = time.monotonic()
        try:
            until = begun + max(0.0, self._left) + GRACE_SECONDS
            said, output = self._link.ask(header, body, until, self._settings.output_bytes)
            return _ran(said, output)
        except TimeoutError:
            self.is_on = False
            return Ran("timeout", b"", time.monotonic() - begun, "the sandbox itself didn't answer in time")
        except (EOFError, OSError, ValueError) as error:
            self.is_on = False
            self._link.give_up()
            if self._link.report.holds("seccomp"):
                raise VerifierError(
                    f"the sandbox ended while a program ran in it ({error!r}), which no program can bring about; was "
                    f"the machine out of memory, or did somebody kill it? The next program gets a new one"
                ) from error
            log.warning("a program took its sandbox down (%r); the next one gets a new one", error)
            return Ran("failed", b"", time.monotonic() - begun, "the program took its sandbox down")


def _ran(said: Mapping[str, Any], output: bytes) -> Ran:
    """Raises ValueError when that isn't what a sandbox says."""
    status, seconds, detail = said.get("status"), said.get("seconds", 0.0), said.get("detail", "")
    if status not in get_args(Status) or not isinstance(seconds, (int, float)) or not isinstance(detail, str):
        raise ValueError(f"the sandbox said {str(said)[:100]!r}")
    return Ran(cast(Status, status), output, float(seconds), detail[:_MAX_DETAIL_CHARS])


def probe(settings: SandboxSettings | None = None) -> SandboxReport:
    """Which layers hold on this host, each tried in a process of its own.

    Raises:
        VerifierError: no process could be started to try them.
    """
    link = Link(settings or SandboxSettings(), probe_only=True)
    link.close()
    return link.report
