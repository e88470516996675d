"""What is done with an update that would spoil the policy; see docs/runs.md."""

from __future__ import annotations

from typing import Literal, TypeAlias

from pydantic import Field

from nemo_prorl.config.closed import Closed

# skip: leave out this update; rewind: go back to the newest checkpoint, on with other data; stop: end the run
Remedy: TypeAlias = Literal["skip", "rewind", "stop"]


class BadUpdatesConfig(Closed):
    """Bad is an update whose gradient or metrics aren't finite, or whose gradient is a spike. No weight has seen it."""

    not_finite: Remedy = Field("skip", description="when the gradient, the loss or a metric is not a finite number")
    spike: Remedy | None = Field(
        None, description="when the gradient's norm is a spike; null: it is only clipped, as every gradient"
    )
    spike_times: float = Field(
        20, gt=1, description="a spike is over so many times the median norm of the updates before"
    )
    spike_window_updates: int = Field(
        50, ge=4, description="so many updates before, of which half must be there for a spike to be seen"
    )
    max_skips_in_a_row: int = Field(3, ge=1, description="the next one ends the run: it isn't chance any more")
    max_rewinds_in_a_row: int = Field(2, ge=1, description="the next one to the same checkpoint ends the run")
