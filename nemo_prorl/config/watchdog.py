"""When a rank counts as hung, and how long ranks wait for each other; see docs/runs.md."""

from __future__ import annotations

from pydantic import Field

from nemo_prorl.config.closed import Closed


class WatchdogConfig(Closed):
    """`<phase>_minutes`: so long a rank may be in a phase without a completion, a microbatch or another phase."""

    silent_seconds: float | None = Field(
        45,
        gt=0,
        description="a rank that gives no sign of life for so long has stopped; while it starts, starting_minutes "
        "holds instead. null: as long as its phase may take",
    )
    join_minutes: float = Field(20, gt=0, description="a rank that hasn't come so long after the first is missing")
    port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="where the main rank listens to the others; null: the first free one of the 16 above MASTER_PORT",
    )
    minutes: float = Field(30, gt=0, description="of every phase that isn't named here")
    starting_minutes: float = Field(60, gt=0, description="of what comes before the run goes on: imports, weights")
    rollout_minutes: float = Field(60, gt=0, description="between two finished completions")
    validation_minutes: float = Field(60, gt=0, description="the same, of a validation")
    checkpoint_minutes: float = Field(60, gt=0, description="of writing one, as far as training waits for it")
    export_minutes: float = Field(90, gt=0, description="of writing the final model")
