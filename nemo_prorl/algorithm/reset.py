"""When reference and optimizer should be reset. A rule is pure: it gives its reason or None; others act.

The paper resets "when validation performance stagnates or degrades" (section 3.2, Appendix E); `ValidationStalls` and
`ValidationDrops` are that. ProRL v2 resets every 200 to 500 steps or when the KL grows: `EveryKSteps`, `KLAbove`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from nemo_prorl.algorithm.plateau import Drop, Plateau
from nemo_prorl.errors import ConfigError


class TrainingState(Protocol):
    """What these rules look at; `nemo_prorl.recipe.TrainingState` has it."""

    @property
    def steps_since_reset(self) -> int: ...

    @property
    def steps_in_stage(self) -> int: ...

    @property
    def scores(self) -> Sequence[float]:
        """Validations since the last reset, oldest first; before them that of the policy at the reset, if known."""
        ...

    @property
    def kls(self) -> Sequence[float]:
        """KL to the reference at each step since the last reset, oldest first."""
        ...

    @property
    def request(self) -> str | None:
        """Why somebody has asked for a reset."""
        ...


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


@dataclass(frozen=True)
class ValidationStalls:
    """Reset when validation has stopped rising since the last reset."""

    plateau: Plateau

    def reason(self, state: TrainingState) -> str | None:
        """Why to reset after the validation that has just ended, or None."""
        return self.plateau.found_in(state.scores)


@dataclass(frozen=True)
class ValidationDrops:
    """Reset when validation has fallen since the last reset."""

    drop: Drop

    def reason(self, state: TrainingState) -> str | None:
        """Why to reset after the validation that has just ended, or None."""
        return self.drop.found_in(state.scores)


@dataclass(frozen=True)
class KLAbove:
    """Reset when the KL to the reference, averaged over the last `steps` steps, is above `limit`."""

    limit: float
    steps: int = 1

    def __post_init__(self) -> None:
        if self.limit <= 0 or self.steps < 1:
            raise ConfigError(f"{self}: limit is above 0 and steps at least 1")

    def reason(self, state: TrainingState) -> str | None:
        """Why to reset after the step that has just ended, or None."""
        last = state.kls[-self.steps :]
        if len(last) < self.steps or sum(last) / len(last) <= self.limit:
            return None
        over = f", averaged over {self.steps} steps," if self.steps > 1 else ""
        return f"the KL to the reference{over} is {sum(last) / len(last):.4g}, above {self.limit:g}"


@dataclass(frozen=True)
class OnRequest:
    """Reset when somebody has asked for it (`prorl reset`). Every stage has this rule."""

    def reason(self, state: TrainingState) -> str | None:
        """Why to reset before the next step, or None."""
        return None if state.request is None else f"on request: {state.request}"
