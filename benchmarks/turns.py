"""Two trainers in two processes that take turns, one step each, so that both meet the same noise of the machine.

A process says `ready` with what it was built from, then waits for a line on its standard input before each step and
answers with one JSON line after it. Anything else it has to say goes to standard error.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from benchmarks.measure import Cost, forget_peak, now, peak_bytes, resident_bytes, resident_bytes_of_children

ROOT = Path(__file__).resolve().parents[1]
MOST_SECONDS = 1800  # for one step, or for building a trainer


class Turns:
    """A trainer's side: measures its steps by phase and reports each one when it is over.

    What is added to no phase is the update.

    `bare_bytes` is the process's memory with its libraries loaded and nothing built: what a step needs is counted from
    there, so that weights, reference and optimizer state belong to it.
    """

    def __init__(self) -> None:
        self._answers = _own_standard_output()
        # Under torchrun its whole tree is measured, and only the first rank speaks: the others wait for it anyway.
        self._root = os.getppid() if "LOCAL_RANK" in os.environ else None
        self._speaks = os.environ.get("LOCAL_RANK", "0") == "0"
        self._phases: dict[str, Cost] = {}
        self._begun = self.now()
        self.bare_bytes = resident_bytes()

    def now(self) -> Cost:
        """A reading of the clocks."""
        return now(self._root)

    def ready(self, **built: Any) -> None:
        """Say so, and wait to be told to begin."""
        self._say({"bare_bytes": self.bare_bytes, "built_bytes": resident_bytes(), **built})
        self._wait()

    def add(self, phase: str, cost: Cost) -> None:
        """`cost` belongs to a phase of the present step."""
        self._phases[phase] = self._phases.get(phase, Cost(0.0, 0.0)) + cost

    def step_done(self, **also: float) -> None:
        """Report the step, and wait to be told to go on."""
        step = self.now() - self._begun
        row = {"step_wall": step.wall_seconds, "step_cpu": step.cpu_seconds}
        update = step  # what is neither sampling nor scoring: backward, optimizer, metrics, bookkeeping
        for phase, cost in self._phases.items():
            row |= {f"{phase}_wall": cost.wall_seconds, f"{phase}_cpu": cost.cpu_seconds}
            update -= cost
        row |= {"update_wall": update.wall_seconds, "update_cpu": update.cpu_seconds}
        memory = {"peak_bytes": peak_bytes(), "children_bytes": resident_bytes_of_children()}
        self._say({**row, **memory, **also})
        self._wait()

    def _say(self, values: Mapping[str, Any]) -> None:
        if self._speaks:
            print(json.dumps(values), file=self._answers, flush=True)

    def _wait(self) -> None:
        if self._speaks and not sys.stdin.readline():
            raise SystemExit  # nobody asks any more
        self._phases = {}
        forget_peak()
        self._begun = self.now()


class Trainer:
    """The orchestrator's side: a process that speaks as `Turns` does; leaving the `with` ends it."""

    def __init__(self, command: list[str], *, threads: int, log: Path) -> None:
        environment = os.environ | {
            "OMP_NUM_THREADS": str(threads),
            "TOKENIZERS_PARALLELISM": "false",
            "CUDA_VISIBLE_DEVICES": "",
            "HF_HUB_OFFLINE": "1",
        }
        self._log = log
        with log.open("w") as errors:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
                env=environment,
                start_new_session=True,
            )
        try:
            self.built = self._hear()
        except BaseException:
            self._end()
            raise

    def step(self) -> dict[str, float]:
        """Have one step done; what it took."""
        assert self._process.stdin is not None
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        return self._hear()

    def _hear(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        ready, _, _ = select.select([self._process.stdout], [], [], MOST_SECONDS)
        line = self._process.stdout.readline() if ready else ""
        if not line:
            fate = "ended" if ready else f"has been silent for {MOST_SECONDS} seconds"
            last = self._log.read_text()[-2000:]
            raise RuntimeError(f"{' '.join(map(str, self._process.args))} {fate}; its last words are\n{last}")
        heard: dict[str, Any] = json.loads(line)
        return heard

    def __enter__(self) -> Trainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def _end(self) -> None:
        with suppress(OSError):
            self._process.stdin.close()  # type: ignore[union-attr]
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._process.stdout.close()  # type: ignore[union-attr]


def _own_standard_output() -> TextIO:
    """A stream for answers alone: what libraries print goes to standard error from now on."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    return answers
