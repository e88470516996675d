"""The gate between rollout engine and trainer: are they the same policy?"""

from __future__ import annotations

from pydantic import Field

from nemo_prorl.config.closed import Closed


class GateConfig(Closed):
    """Before a run trains, and every so many steps, each rank's engine answers a few problems, and the trainer says
    what it thinks of every token. A sampler that is another policy than the trainer's ends the run."""

    enabled: bool = Field(True, description="false: the engine is trusted; metrics and the alarm still tell")
    limit: float = Field(
        1.05, gt=1, description="mean of exp |trainer's - sampler's logprob| of a rank's tokens; healthy below 1.02"
    )
    every_steps: int | None = Field(
        50, ge=1, description="each step refits the engine once; null: only when a run starts or resumes"
    )
    prompts: int = Field(4, ge=1, description="problems that each rank's engine answers, those that come next")
    samples_per_prompt: int = Field(2, ge=1, description="answers to each of them")
    max_response_tokens: int = Field(64, ge=1, description="of an answer; the stage's own limits hold, too")
