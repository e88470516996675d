"""When a stage is over. A rule is pure: it gives its reason or None; others act.

The paper's runs end when validation degrades (run 1) or the responses suddenly grow (run 3, Appendix E).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nemo_prorl.algorithm.plateau import Drop, Plateau
from nemo_prorl.errors import ConfigError


class StageHistory(Protocol):
    """What these rules look at; `nemo_prorl.recipe.TrainingState` has it."""

    @property
    def steps_in_stage(self) -> int: ...

    @property
    def seconds_in_stage(self) -> float: ...

    @property
    def stage_scores(self) -> Sequence[float]:
        """Validations of this stage, oldest first; before them that of the policy which entered it, if known."""
        ...

    @property
    def response_tokens(self) -> Sequence[float]:
        """Mean length of the responses sampled at each step of this stage, oldest first."""
        ...


@dataclass(frozen=True)
class AfterHours:
    """So many hours of steps. Time that the run didn't train in, between two attempts say, doesn't count."""

    hours: float

    def reason(self, state: StageHistory) -> str | None:
        """Why the stage is over, or None."""
        return f"it has run for {self.hours:g} hours" if state.seconds_in_stage >= 3600 * self.hours else None


@dataclass(frozen=True)
class WhenValidationStalls:
    """Validation has stopped rising in this stage."""

    plateau: Plateau

    def reason(self, state: StageHistory) -> str | None:
        """Why the stage is over, or None."""
        return self.plateau.found_in(state.stage_scores)


@dataclass(frozen=True)
class WhenValidationDrops:
    """Validation has fallen in this stage: how the paper's run 1 ended."""

    drop: Drop

    def reason(self, state: StageHistory) -> str | None:
        """Why the stage is over, or None."""
        return self.drop.found_in(state.stage_scores)


@dataclass(frozen=True)
class WhenResponsesJump:
    """Responses have suddenly grown, as they do when a model repeats itself and never ends: the paper's run 3.

    The mean of the last `window_steps` is compared with that of the `baseline_steps` before them, so slow growth, which
    the paper saw together with better scores, is none.
    """

    factor: float
    window_steps: int
    baseline_steps: int

    def __post_init__(self) -> None:
        if self.factor <= 1 or self.window_steps < 1 or self.baseline_steps < 1:
            raise ConfigError(f"{self}: factor is above 1, the others are at least 1")

    def reason(self, state: StageHistory) -> str | None:
        """Why the stage is over, or None."""
        lengths = state.response_tokens[-self.window_steps - self.baseline_steps :]
        if len(lengths) < self.window_steps + self.baseline_steps:
            return None
        before = sum(lengths[: self.baseline_steps]) / self.baseline_steps
        now = sum(lengths[self.baseline_steps :]) / self.window_steps
        if now <= self.factor * before:
            return None
        return f"responses have grown to {now:.0f} tokens in {self.window_steps} steps, from {before:.0f} before"
