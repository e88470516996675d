"""Settings of stages: how long each lasts, how it samples, when it resets and what ends it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from nemo_prorl.config.choice import Choice
from nemo_prorl.config.closed import Closed
from nemo_prorl.data.prompt import Domain


class PlateauConfig(Closed):
    """Validation has stopped rising: the paper's "stagnates". It gives no figures; these are ours."""

    patience: int = Field(4, ge=1, description="validations without a better score")
    min_delta: float = Field(0.0, ge=0, description="a better score passes the best by more than this")
    smoothing: int = Field(1, ge=1, description="each score is averaged with those before it, so many in all")


class DropConfig(Closed):
    """Validation has fallen: the paper's "degrades"."""

    limit: float = Field(0.05, gt=0, description="how far the newest score may lie below the best")
    smoothing: int = Field(1, ge=1, description="each score is averaged with those before it, so many in all")


class ResponseJumpConfig(Closed):
    """Responses have suddenly grown, as when a model repeats itself without an end: how the paper's run 3 ended."""

    factor: float = Field(1.3, gt=1)
    window_steps: int = Field(10, ge=1)
    baseline_steps: int = Field(50, ge=1, description="steps before the window that it is compared with")


class EndConfig(Closed):
    """What ends a stage before its `steps` are done; null: nothing of the kind. The first two look at validations."""

    plateau: PlateauConfig | None = None
    drop: DropConfig | None = None
    response_jump: ResponseJumpConfig | None = None
    max_hours: float | None = Field(None, gt=0, description="of steps; where it falls depends on the machine")


RESET_RULES = ("at_entry", "every_steps", "plateau", "drop", "kl_limit")  # each may make a reset due


class ResetConfig(Closed):
    """When a stage resets, and what. Somebody who types `prorl reset` is obeyed in every stage."""

    at_entry: bool = Field(False, description="reset when the stage begins (never at a run's very first step)")
    every_steps: int | None = Field(None, ge=1, description="reset after this many steps since the last; null: never")
    plateau: PlateauConfig | None = Field(None, description="of validation since the last reset; null: never")
    drop: DropConfig | None = Field(None, description="of validation since the last reset; null: never")
    kl_limit: float | None = Field(None, gt=0, description="reset when the KL to the reference is above; null: never")
    kl_window_steps: int = Field(5, ge=1, description="steps over which that KL is averaged")
    to: Literal["policy", "best"] = Field(
        "policy", description="what is trained on from there: the current policy, or the best-validated one"
    )
    reference: bool = Field(True, description="a reset makes the reference that policy")
    optimizer: bool = Field(True, description="a reset gives the optimizer fresh moments and step count (v2: false)")

    @property
    def is_due_ever(self) -> bool:
        return any(getattr(self, rule) for rule in RESET_RULES)

    @model_validator(mode="after")
    def _a_reset_resets_something(self) -> ResetConfig:
        if self.is_due_ever and not (self.reference or self.optimizer):
            raise ValueError("resets are due but neither the reference nor the optimizer is to be reset; set one true")
        return self


class StageConfig(Closed):
    """A stretch of training. In a recipe each stage inherits what it doesn't state from the one before it."""

    steps: int = Field(200, ge=1, description="at most; `end` may say that it is over before")
    end: EndConfig = EndConfig()
    prompts_per_step: int = Field(256, ge=1, description="groups that teach, of all ranks together")
    prompts_per_update: int = Field(64, ge=1)
    samples_per_prompt: int = Field(16, ge=2, description="one sample has no group to be compared with")
    context_tokens: int = Field(8192, gt=1, description="prompt and response together")
    max_response_tokens: int | None = Field(None, ge=1, description="null: what the prompt leaves of the context")
    temperature: float = Field(1.2, gt=0)
    top_p: float = Field(1.0, gt=0, le=1)
    top_k: int = Field(0, ge=0, description="0: off")
    kl_weight: float = Field(1e-4, ge=0, description="beta; 0 leaves the reference unused. Not in the paper")
    domain_weights: dict[Domain, Annotated[float, Field(ge=0)]] = Field(
        default={}, description="empty: as the data says"
    )
    source_weights: dict[str, Annotated[float, Field(ge=0)]] = Field(
        default={}, description="share of each of data.sources; empty: their own weights"
    )
    pass_rate_band: tuple[Annotated[float, Field(ge=0, le=1)], Annotated[float, Field(ge=0, le=1)]] | None = Field(
        None, description="lowest and highest pass rate so far of what is drawn; null: as data.avoid says"
    )
    exclude_domains: list[Domain] = Field(default=[], description="not drawn in this stage, whatever the weights")
    shaping: dict[str, Choice | None] = Field(
        default={}, description="what rewards become before advantages are taken, in this order; null: that one is off"
    )
    reset: ResetConfig = ResetConfig()

    @model_validator(mode="after")
    def _updates_are_equal(self) -> StageConfig:
        if self.prompts_per_step % self.prompts_per_update:
            raise ValueError(
                f"prompts_per_step={self.prompts_per_step} must be a multiple of "
                f"prompts_per_update={self.prompts_per_update}: every update trains on equally many groups"
            )
        return self

    @model_validator(mode="after")
    def _the_band_is_one(self) -> StageConfig:
        if self.pass_rate_band is not None and self.pass_rate_band[0] > self.pass_rate_band[1]:
            raise ValueError(f"pass_rate_band={list(self.pass_rate_band)} is [lowest, highest]; swap the two")
        return self


class RecipeConfig(Closed):
    """`common` is what the first stage inherits; `stages` come in the order written."""

    stages: dict[str, StageConfig] = Field(min_length=1)
