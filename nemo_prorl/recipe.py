"""What holds for a stretch of training, and in which order the stretches come.

The paper trains in runs that differ in data, samples, context and shaping. Here a run is a `Stage` and the list is a
`Recipe`: handing over from one stage to the next needs no conversion, no restart and no human.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from nemo_prorl.data.blend import AS_THE_DATA_SAY, Blend
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import ConfigError


@dataclass(frozen=True)
class TrainingState:
    """What a reset rule may look at. `scores`: validations since the last reset, oldest first."""

    steps_since_reset: int
    steps_in_stage: int
    scores: Sequence[float] = ()
    kl: float = 0.0


class ResetRule(Protocol):
    """Pure: why the reference should be reset now, or None. Somebody else acts."""

    def reason(self, state: TrainingState) -> str | None: ...


@dataclass(frozen=True)
class Stage:
    """Settings of one stretch of training.

    A step samples until `prompts_per_step` groups teach, and updates the policy once for every `prompts_per_update`
    of them. `blend` says what is drawn. `kl_weight` is beta; 0 leaves the reference unused.
    """

    name: str
    steps: int
    prompts_per_step: int
    prompts_per_update: int
    sampling: SamplingParams
    kl_weight: float
    blend: Blend = AS_THE_DATA_SAY
    reset_rules: tuple[ResetRule, ...] = ()
    reset_reference: bool = True
    reset_optimizer: bool = True

    def __post_init__(self) -> None:
        if self.prompts_per_step % self.prompts_per_update:
            raise ConfigError(
                f"stage {self.name!r}: prompts_per_step={self.prompts_per_step} is not a multiple of "
                f"prompts_per_update={self.prompts_per_update}; updates must be of equal size"
            )

    @property
    def updates_per_step(self) -> int:
        return self.prompts_per_step // self.prompts_per_update


@dataclass(frozen=True)
class Recipe:
    """Stages in order."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages:
            raise ConfigError("recipe.stages is empty; a run needs at least one stage")

    def __iter__(self) -> Iterator[Stage]:
        return iter(self.stages)

    @property
    def steps(self) -> int:
        """Steps of all stages together."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> tuple[Stage, int]:
        """The stage that step number `step` (from 0) belongs to, and how many of its steps lie before."""
        before = 0
        for stage in self.stages:
            if step < before + stage.steps:
                return stage, step - before
            before += stage.steps
        raise ConfigError(f"step {step} lies after the recipe's last step {self.steps - 1}; nothing is left to train")
