"""What a user sees while waiting: one readable line a step, and on a terminal a bar below it."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TextIO

from tqdm import tqdm

from nemo_prorl.telemetry.status import RunStatus

log = logging.getLogger(__name__)

# What a line shows, in order: metric, its name in the line, format.
SHOWN = (
    ("sft/loss", "loss", ".4f"),
    ("evaluation/solved", "solved", ".3f"),
    ("reward/sampled_mean", "reward", ".3f"),
    ("reward/kept_mean", "kept", ".3f"),
    ("policy/entropy", "entropy", ".3f"),
    ("kl/reference", "KL", ".4f"),
    ("rollout/response_tokens_mean", "tokens", ".1f"),
    ("optimizer/grad_norm", "grad", ".3f"),
    ("optimizer/lr", "lr", ".1e"),
    ("time/step_seconds", "seconds", ".1f"),
)


class Progress:
    """Tells how far a run of `total` steps, or whatever `unit` is, has come. Lines go through the log, so they are in
    its file as well.

    What others than people read goes to `status`.
    """

    def __init__(
        self,
        total: int,
        *,
        is_main: bool,
        unit: str = "step",
        stream: TextIO | None = None,
        status: RunStatus | None = None,
    ) -> None:
        stream = sys.stderr if stream is None else stream
        self._total, self._is_main, self._unit = total, is_main, unit
        self._status = status or RunStatus(None, attempt=0)
        has_bar = is_main and stream.isatty()
        self._bar = tqdm(total=total, unit=unit, file=stream, dynamic_ncols=True, leave=False) if has_bar else None

    def resume(self, step: int) -> None:
        """The run stands after `step` steps."""
        self._status.stands_at(step, self._total)
        if self._bar is not None:
            self._bar.reset(total=self._total)
            self._bar.initial = step  # speed and time left are judged by this life's own steps
            self._bar.update(step)
            self._bar.refresh()

    def step(self, step: int, stage: str, values: Mapping[str, float]) -> None:
        """Step number `step`, from 1, is done."""
        self._status.stepped(step, stage)
        if not self._is_main:
            return
        log.info("%s", line_of(step, self._total, stage, values, self._unit))
        if self._bar is not None:
            self._bar.update(step - self._bar.n)

    def phase(self, name: str) -> None:
        """What the run does now."""
        self._status.phase(name)

    def validated(self, step: int, score: float) -> None:
        self._status.update(last_validation={"step": step, "score": score})

    def saved(self, checkpoint: str) -> None:
        """The checkpoint of this name is whole."""
        self._status.update(last_checkpoint={"name": checkpoint, "unix_seconds": time.time()})

    def stopping(self, reason: str) -> None:
        """The run is to stop, and does what is left to be done."""
        self._status.update(state="stopping", reason=reason)
        self.say(f"stopping ({reason})")

    def say(self, text: str) -> None:
        """A line about something other than a step."""
        if self._is_main:
            log.info("%s", text)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def line_of(step: int, total: int, stage: str, values: Mapping[str, float], unit: str = "step") -> str:
    """The line of a step; metrics that the step doesn't have are left out.

    >>> line_of(7, 90, "s1", {"reward/sampled_mean": 0.5, "kl/reference": 0.001, "time/step_seconds": 2.0})
    'step  7/90 s1 | reward 0.500 | KL 0.0010 | seconds 2.0'
    """
    parts = [f"{unit} {step:>{len(str(total))}}/{total} {stage}"]
    if "rollout/step_left_out" in values:
        parts.append("too few groups taught, policy unchanged")
    parts += [f"{short} {values[name]:{form}}" for name, short, form in SHOWN if name in values]
    return " | ".join(parts)
