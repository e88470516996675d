"""What is held out of training, and how it is asked and scored."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from nemo_prorl.config.choice import SourceConfig
from nemo_prorl.config.closed import Closed


class HeldOutConfig(SourceConfig):
    """One validation set: a source of problems, and how much it counts. `null`: as `validation` says for all sets."""

    weight: float = Field(1.0, ge=0, description="of its score in the overall one; 0: only watched")
    every_validations: int = Field(
        1, ge=1, description="it is run in the first validation, every so many, and the last"
    )
    problems_per_task: int | None = Field(None, ge=1, description="of this set; null: as validation says")
    samples_per_prompt: int | None = Field(None, ge=1, description="of this set; null: as validation says")
    score: Literal["by_domain", "solved", "reward"] = Field(
        "by_domain", description="share solved, or mean reward; by_domain: mean reward of logic and instruction"
    )
    solved_reward: float | None = Field(None, gt=0, le=1, description="of this set; null: as validation says")


class ValidationConfig(Closed):
    every_steps: int | None = Field(None, ge=1, description="null: only after the last step")
    at_start: bool = Field(True, description="also before the first step")
    problems_per_task: int = Field(24, ge=1, description="at most so many, the first, of each task of each set")
    samples_per_prompt: int = Field(16, ge=1, description="answers to each problem")
    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    solved_reward: float = Field(0.99, gt=0, le=1, description="from which reward on an answer counts as right")
    pass_at_k: list[Annotated[int, Field(ge=1)]] | None = Field(
        None, description="the k of pass@k; a set leaves out those above its samples. null: 1 and all its samples"
    )
    best_metric: str = Field("validation/all/score", description="what the best checkpoint is chosen by")
    best_mode: Literal["max", "min"] = Field("max", description="whether more of it is better, or less")
    max_time_share: float | None = Field(
        None, gt=0, lt=1, description="validations beyond this share of the wall time are put off; null: none is"
    )
