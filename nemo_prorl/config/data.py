"""Where problems come from, and how often each is drawn."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from nemo_prorl.config.choice import SourceConfig
from nemo_prorl.config.closed import Closed
from nemo_prorl.config.validation import HeldOutConfig


class TrainingSourceConfig(SourceConfig):
    """A source to train on. `weight` is its share of the draws."""

    max_epochs: int | None = Field(
        None, ge=1, description="after so many the others take its share; null: it is never over"
    )


class AvoidConfig(Closed):
    """Problems to pass over, by their pass rate so far (mean reward). Rates are kept in any case."""

    solved_at: float | None = Field(None, gt=0, le=1, description="at this pass rate or above; null: never")
    hopeless_at: float | None = Field(None, ge=0, lt=1, description="at this pass rate or below; null: never")
    min_samples: int = Field(32, ge=1, description="samples of a problem before its pass rate counts")
    revisit_probability: float = Field(
        0.05, gt=0, le=1, description="that such a problem is drawn all the same when its turn comes: none is lost"
    )
    memory: float = Field(0.5, gt=0, le=1, description="weight that older samples keep when a new group is seen")

    @model_validator(mode="after")
    def _something_is_left(self) -> AvoidConfig:
        if self.solved_at is not None and self.hopeless_at is not None and self.hopeless_at >= self.solved_at:
            raise ValueError(
                f"hopeless_at={self.hopeless_at} must be below solved_at={self.solved_at}: what lies between is drawn"
            )
        return self


class DataConfig(Closed):
    folder: str = Field("data/prorl", min_length=1, description="of prepared files, for sources' paths to begin with")
    sources: dict[str, TrainingSourceConfig] = Field(min_length=1)
    held_out: dict[str, HeldOutConfig] = Field(
        default={}, description="for validation; excluded from the training draws"
    )
    weighting: Literal["as_given", "by_size"] = Field(
        "as_given", description="a source's share is its weight, or its weight times its rows"
    )
    weighting_temperature: float = Field(
        1.0, gt=0, description="shares to the power of 1 / this; above 1 small sources gain"
    )
    avoid: AvoidConfig = AvoidConfig()
    max_prompt_tokens: int = Field(1024, ge=1, description="what is longer is treated as long_prompts says")
    long_prompts: Literal["error", "skip"] = Field(
        "error", description="what to do with a prompt over max_prompt_tokens"
    )
