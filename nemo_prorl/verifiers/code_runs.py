"""Programs at work in the sandbox: what they gave, how many tests that passes, and when it is worth nothing at all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from hashlib import sha256
from math import ceil
from typing import Any, Protocol, TypeVar

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.sandbox import Program, Ran, Sandbox

T = TypeVar("T")

MAX_PROCESSES = 20  # a program's calls share processes when there are more: EvalPlus has a thousand for a problem
MAX_REMEMBERED = 64  # of what references' own programs gave: a group's submissions come one after the other
REFERENCE_SECONDS = 4.0  # for what stands in the reference: a right solution, and tests that are code

Call = list[Any]  # [function, encoded arguments, encoded keyword arguments]
Outcome = dict[str, Any]  # {"value": encoded} or {"raised": [exception, message]}


class WorthNothingError(Exception):
    """The submission gets 0 whatever else it did: it doesn't compile, or its time is over. The message says which."""


@dataclass(frozen=True)
class Score:
    """How many tests passed; `failure` says what was wrong with the first that didn't."""

    passed: int
    total: int
    failure: str = ""

    def __str__(self) -> str:
        return f"{self.passed} of {self.total} tests passed" + (f"; {self.failure}" if self.failure else "")


class Tests(Protocol):
    """What a reference demands of a program."""

    def judge(self, source: str, runs: Runs) -> Score:
        """
        Raises:
            WorthNothingError: compile error or time-out.
            VerifierError: the reference is at fault.
        """
        ...


class Runs:
    """What one submission does in the sandbox, all of it within `seconds`, however often it is compiled and run;
    `memory` is shared by all submissions."""

    def __init__(self, sandbox: Sandbox, seconds: float, memory: dict[bytes, Any]) -> None:
        self._sandbox, self._memory = sandbox, memory
        self._seconds, self._left = seconds, seconds
        self._trusted_left = REFERENCE_SECONDS

    def run(self, program: Program, inputs: Sequence[str]) -> Iterator[Ran]:
        """What came of each input, as soon as it is known.

        Raises:
            WorthNothingError: compile error or time-out.
        """
        with closing(self._run(program, inputs, self._left)) as runs:  # or the sandbox would stay in use
            for number in range(1, len(inputs) + 1):
                begun = time.monotonic()
                ran = next(runs)  # the first one waits for the compiler, too
                self._left -= time.monotonic() - begun
                if ran.status == "compile_error":
                    raise WorthNothingError(f"it doesn't compile: {ran.detail}")
                if ran.status in ("timeout", "not_run"):
                    raise WorthNothingError(f"its {self._seconds:g} s are over at input {number} of {len(inputs)}")
                yield ran

    def call(self, program: Program, calls: Sequence[Call]) -> Iterator[Outcome]:
        """What came of each call of a program made by `as_functions`.

        Raises:
            WorthNothingError: compile error or time-out.
        """
        size = max(1, ceil(len(calls) / MAX_PROCESSES))
        batches = [list(calls[first : first + size]) for first in range(0, len(calls), size)]
        runs = self.run(program, [json.dumps(batch) for batch in batches])
        for batch, ran in zip(batches, runs, strict=True):
            yield from _outcomes(ran, len(batch))

    def trusted(self, program: Program, argument: Any, what: str) -> bytes:
        """What the function of `program`, which is of the reference alone, gives for `argument`.

        It isn't of the submission's budget; it has REFERENCE_SECONDS, for all such runs together.

        Raises:
            VerifierError: it gives none, for which the reference is to blame.
        """
        (ran,) = self._run(program, [json.dumps(argument)], self._trusted_left)
        self._trusted_left -= ran.seconds
        if ran.status != "ok":
            raise VerifierError(
                f"reference.{what} can't be run in the sandbox: {ran.status.replace('_', ' ')} after "
                f"{ran.seconds:.1f} s ({ran.detail or 'no message'}); repair the problem or drop it from the data"
            )
        return ran.output

    def once(self, key: Any, work: Callable[[Runs], T]) -> T:
        """What `work` of the reference gives, beyond the budget; from memory if it was done a short while ago."""
        digest = sha256(json.dumps(key).encode()).digest()
        if digest not in self._memory:
            while len(self._memory) >= MAX_REMEMBERED:
                del self._memory[next(iter(self._memory))]
            self._memory[digest] = work(Runs(self._sandbox, REFERENCE_SECONDS, self._memory))
        return self._memory[digest]

    def _run(self, program: Program, inputs: Iterable[str], seconds: float) -> Generator[Ran, None, None]:
        yield from self._sandbox.run(program, inputs, budget_seconds=max(seconds, 0.0))


def _outcomes(ran: Ran, count: int) -> list[Outcome]:
    """Of a batch of calls; what isn't told as it should be counts as an exception: a program writes what it likes."""
    failed = {"raised": ["Exception", ran.detail or "it ended without a value"]}
    try:
        told = json.loads(ran.output) if ran.status == "ok" else None
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, list) or len(told) != count:
        return [failed] * count
    return [outcome if isinstance(outcome, dict) and len(outcome) == 1 else failed for outcome in told]
