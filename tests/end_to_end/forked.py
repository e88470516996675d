"""Whole runs of `prorl` that start in a moment: ranks are forked from a process that has imported everything.

The command is the same as that of a fresh interpreter, from what is typed to its exit code.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tests.end_to_end.runs import ROOT
from tests.processes import environment_of_rank, free_port

SOONER_THAN_A_THREAD_STARTS = 0.001
PRELOADED = ["nemo_prorl.build", "nemo_prorl.commands.train", "nemo_prorl.rollout.transformers_engine"]
PRELOADED += ["nemo_prorl.config.load", "nemo_prorl.telemetry.run", "nemo_prorl.data.sources.jsonl"]
PRELOADED += ["nemo_prorl.vigil.vigil"]


class Fault(RuntimeError):
    """What a rank raises that is to fail."""


class Death(NamedTuple):
    """What befalls a rank so many seconds after it has entered a phase for the `time`-th time, from 1.

    how  kill: kill -9; stop: SIGSTOP; raise: an error; hang, late: its main thread stands still; fill: it can write
         to no file any more, as on a full disk. All but the first two come at once.
    """

    phase: str
    time: int = 1
    seconds: float = 0.0
    rank: int = 0
    how: Literal["kill", "stop", "raise", "hang", "late", "fill"] = "kill"

    def comes(self, note: Path) -> None:
        """`note` is left when it does, or is about to."""
        note.touch()
        if self.how == "raise":
            raise Fault(f"a fault of the test's own in {self.phase}")
        if self.how in ("hang", "late"):
            time.sleep(3600)
        if self.how == "fill":
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
            return
        number = signal.SIGSTOP if self.how == "stop" else signal.SIGKILL
        if self.seconds < SOONER_THAN_A_THREAD_STARTS:
            os.kill(os.getpid(), number)
        else:
            timer = threading.Timer(self.seconds, os.kill, (os.getpid(), number))
            timer.daemon = True
            timer.start()


class Forked:
    """`ranks` ranks of `prorl *arguments`; none outlives the `with`. What they say goes to `<logs>/rank_<n>.log`."""

    def __init__(
        self,
        arguments: Sequence[str],
        logs: Path,
        *,
        ranks: int = 1,
        environment: Mapping[str, str] | None = None,
        death: Death | None = None,
    ) -> None:
        context: Any = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOADED)
        logs.mkdir(parents=True, exist_ok=True)
        self.logs = [logs / f"rank_{rank}.log" for rank in range(ranks)]
        port = free_port()
        self.processes = [
            context.Process(
                target=_live,
                args=(list(arguments), {**environment_of_rank(rank, ranks, port), **(environment or {})}, log, death),
            )
            for rank, log in enumerate(self.logs)
        ]
        for process in self.processes:
            process.start()

    def wait(self, timeout_seconds: float = 240) -> list[int]:
        """The exit codes; ranks that have not ended in time are killed."""
        deadline = time.monotonic() + timeout_seconds
        for process in self.processes:
            process.join(max(deadline - time.monotonic(), 0.0))
        self.kill()
        return [process.exitcode for process in self.processes]

    def death_has_come(self) -> bool:
        return any(_note_of(log).exists() for log in self.logs)

    @property
    def has_ended(self) -> bool:
        return any(process.exitcode is not None for process in self.processes)

    def signal(self, number: int, ranks: Sequence[int] | None = None) -> None:
        for rank, process in enumerate(self.processes):
            if ranks is None or rank in ranks:
                os.kill(process.pid, number)

    def kill(self) -> None:
        """kill -9; what the ranks have started ends with them."""
        for process in self.processes:
            process.kill()
            process.join(30)

    def output(self) -> str:
        return "\n".join(log.read_text(errors="replace") for log in self.logs if log.exists())

    def until(self, has_come: Callable[[], bool], timeout_seconds: float = 240) -> bool:
        """Wait; False when the ranks have ended before it came."""
        deadline = time.monotonic() + timeout_seconds
        while not has_come():
            if self.has_ended:
                return False
            assert time.monotonic() < deadline, f"it has not come\n{self.output()}"
            time.sleep(0.003)
        return True

    def __enter__(self) -> Forked:
        return self

    def __exit__(self, *error: object) -> None:
        self.kill()


def finish_forked(
    arguments: Sequence[str], logs: Path, *, ranks: int = 1, environment: Mapping[str, str] | None = None
) -> None:
    """Run to the end, or fail the test with what the ranks wrote."""
    with Forked(arguments, logs, ranks=ranks, environment=environment) as run:
        codes = run.wait()
        assert codes == [0] * ranks, f"exit codes {codes}\n{run.output()}"


def status(run_dir: Path) -> dict[str, Any]:
    """status.json, which is whole whenever it is there."""
    path = run_dir / "status.json"
    return json.loads(path.read_text()) if path.exists() else {"phase": None, "step": None, "state": None, "attempt": 0}


def in_phase(run_dir: Path, phase: str, step: int = 0, attempt: int = 1) -> Callable[[], bool]:
    """Whether attempt number `attempt`, or one after it, is in a phase after `step` steps."""

    def has_come() -> bool:
        said = status(run_dir)
        return said["attempt"] >= attempt and said["phase"] == phase and (said["step"] or 0) >= step

    return has_come


def _live(arguments: list[str], environment: dict[str, str], log: Path, death: Death | None) -> None:
    with log.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
    os.environ.update(environment)
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))  # as a fresh interpreter has it
    os.chdir(ROOT)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if death is not None and environment["RANK"] == str(death.rank):
        _die_in(death, _note_of(log))
    from nemo_prorl.cli import main

    sys.exit(main(arguments))


def _die_when_seen(death: Death, note: Path) -> None:
    """As soon as the others have heard of this rank, which isn't the main one; it is busy with imports then."""
    from nemo_prorl.vigil.post import RankPost

    meet = RankPost._meet

    def met(self: RankPost, own: Any) -> Any:
        verdict = meet(self, own)
        if self._main is not None:
            death.comes(note)
        return verdict

    RankPost._meet = met  # type: ignore[method-assign]


def _note_of(log: Path) -> Path:
    return log.with_suffix(".death")


def _die_in(death: Death, note: Path) -> None:
    """Watch the phases that this process tells of, from within: from outside short ones are seldom seen in time."""
    from nemo_prorl.telemetry.status import RunStatus

    if death.phase == "starting":  # which nobody enters: it is there from the first moment
        _die_when_seen(death, note)
        return
    tell, seen = RunStatus.phase, itertools.count(1)

    def phase(self: RunStatus, name: str) -> None:
        tell(self, name)
        if name == death.phase and next(seen) == death.time:
            death.comes(note)

    RunStatus.phase = phase  # type: ignore[method-assign]
