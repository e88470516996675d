"""When the reference should become the current policy. A rule is pure: it gives its reason or None; others act."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from nemo_prorl.errors import ConfigError


class TrainingState(Protocol):
    """What these rules look at; `nemo_prorl.recipe.TrainingState` has it."""

    @property
    def steps_since_reset(self) -> int: ...

    @property
    def steps_in_stage(self) -> int: ...


@dataclass(frozen=True)
class EveryKSteps:
    """Reset after `steps` steps without one."""

    steps: int

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"reset.every_steps={self.steps} must be at least 1; null means never")

    def reason(self, state: TrainingState) -> str | None:
        """Why to reset after the step that has just ended, or None."""
        if state.steps_since_reset < self.steps:
            return None
        return f"{state.steps_since_reset} steps since the last reset, due every {self.steps}"


@dataclass(frozen=True)
class AtEntry:
    """Reset when a stage begins, unless no step was taken since the last reset: then the two are already one."""

    def reason(self, state: TrainingState) -> str | None:
        """Why to reset before the stage's first step, or None."""
        if state.steps_in_stage or not state.steps_since_reset:
            return None
        return "a stage begins"
