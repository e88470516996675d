"""How much a step samples, and what becomes of what it doesn't need."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nemo_prorl.config.closed import Closed


class SamplingBudgetConfig(Closed):
    """Dynamic sampling: groups whose rewards are all equal teach nothing and are replaced."""

    drop_equal_groups: bool = Field(True, description="false: train on every group, sampled once")
    max_rounds: int = Field(8, ge=1, description="rounds of sampling in a step before giving up with an error")
    on_exhausted: Literal["error", "skip"] = Field(
        "error", description="what to do then; skip leaves out the updates that can't be filled, counted"
    )
    oversample: float = Field(
        1.0, ge=1, description="prompts drawn in a round, as a multiple of the groups still missing"
    )
    surplus: Literal["abort", "carry"] = Field(
        "abort",
        description="groups beyond those that a step needs: given up as soon as enough teach, or finished and carried "
        "to the next step, whose policy they aren't quite (needs loss.sampler_correction)",
    )
    max_steps_waited: int = Field(1, ge=1, description="a carried group that is older is dropped")
