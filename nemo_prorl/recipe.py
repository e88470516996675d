"""What holds for a stretch of training, and in which order the stretches come.

The paper trains in runs that differ in data, samples, context and shaping. Here a run is a `Stage` and the list is a
`Recipe`: handing over from one stage to the next needs no conversion, no restart and no human.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from nemo_prorl.data.blend import AS_THE_DATA_SAY, Blend
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import CheckpointError, ConfigError


@dataclass(frozen=True)
class TrainingState:
    """What rules may look at: the run at a step boundary. All series are oldest first.

    scores           validations since the last reset; before them that of the policy at the reset, if known
    stage_scores     validations of this stage; before them that of the policy which entered it, if known
    kls              KL to the reference at each step since the last reset
    response_tokens  mean length of the responses sampled at each step of this stage
    request          why somebody has asked for a reset
    """

    steps_since_reset: int
    steps_in_stage: int
    seconds_in_stage: float = 0.0
    scores: Sequence[float] = ()
    stage_scores: Sequence[float] = ()
    kls: Sequence[float] = ()
    response_tokens: Sequence[float] = ()
    request: str | None = None


class Rule(Protocol):
    """Pure: why something should happen now, or None. Somebody else acts."""

    def reason(self, state: TrainingState) -> str | None: ...


def first_reason(rules: Sequence[Rule], state: TrainingState) -> str | None:
    """What the first of `rules` that has a reason says."""
    return next(filter(None, (rule.reason(state) for rule in rules)), None)


@dataclass(frozen=True)
class Resets:
    """When and how a stage resets.

    rules      why to reset; the first that has a reason decides
    to         what policy and reference become: the current policy, or that of the best checkpoint
    reference  the reference becomes the policy
    optimizer  fresh moments, step count and master weights
    """

    rules: tuple[Rule, ...] = ()
    to: Literal["policy", "best"] = "policy"
    reference: bool = True
    optimizer: bool = True

    @property
    def what(self) -> str:
        """What is reset, to be read."""
        return " and ".join(name for name in ("reference", "optimizer") if getattr(self, name))


@dataclass(frozen=True)
class Stage:
    """Settings of one stretch of training.

    A step samples until `prompts_per_step` groups teach, and updates the policy once for every `prompts_per_update`
    of them. `blend` says what is drawn. `kl_weight` is beta; 0 leaves the reference unused.
    `shapings` change rewards before advantages are taken, in order, by name; see `algorithm.shaping`. The stage is over
    after `steps` steps, or when one of `end_rules` says so.
    """

    name: str
    steps: int
    prompts_per_step: int
    prompts_per_update: int
    sampling: SamplingParams
    kl_weight: float
    blend: Blend = AS_THE_DATA_SAY
    shapings: Mapping[str, Callable[..., Any]] = field(default_factory=dict)
    end_rules: tuple[Rule, ...] = ()
    resets: Resets = Resets()

    def __post_init__(self) -> None:
        if self.prompts_per_step % self.prompts_per_update:
            raise ConfigError(
                f"stage {self.name!r}: prompts_per_step={self.prompts_per_step} is not a multiple of "
                f"prompts_per_update={self.prompts_per_update}; updates must be of equal size"
            )

    @property
    def updates_per_step(self) -> int:
        return self.prompts_per_step // self.prompts_per_update

    def reason_to_end(self, state: TrainingState) -> str | None:
        """Why no further step of it should be taken, or None."""
        if state.steps_in_stage >= self.steps:
            return f"its {self.steps} steps are done"
        return first_reason(self.end_rules, state) if state.steps_in_stage else None


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
        """Steps of all stages together, if each takes all of its own."""
        return sum(stage.steps for stage in self.stages)

    @property
    def updates(self) -> int:
        """Updates of all stages together, if each takes all of its steps."""
        return sum(stage.steps * stage.updates_per_step for stage in self.stages)

    def named(self, name: str) -> Stage:
        """
        Raises:
            CheckpointError: no stage is called so; the run was in it when its checkpoint was written.
        """
        for stage in self.stages:
            if stage.name == name:
                return stage
        raise CheckpointError(
            f"the run in this folder is in stage {name!r}, which this recipe doesn't have; its stages are "
            f"{', '.join(stage.name for stage in self.stages)}. Give the stage back its name, or choose another run.dir"
        )

    def after(self, stage: Stage) -> Stage | None:
        """The stage that follows; None after the last."""
        following = self.stages.index(stage) + 1
        return self.stages[following] if following < len(self.stages) else None
