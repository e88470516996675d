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
    starting_minutes: float = Field(60, gt=0, description="until the first phase begins: imports, weights")
    rollout_minutes: float = Field(60, gt=0, description="without a completion")
    validation_minutes: float = Field(60, gt=0, description="without a completion")
    checkpoint_minutes: float = Field(60, gt=0, description="of writing one")
    export_minutes: float = Field(90, gt=0, description="of writing the Hugging Face folder")

    def seconds_of(self, phase: str) -> float:
        """How long a rank may be in `phase` without progress."""
        own: float = getattr(self, f"{phase}_minutes", self.minutes)
        return 60.0 * own

    def silence_of(self, phase: str) -> float:
        """How many seconds a rank in `phase` may give no sign of life."""
        if self.silent_seconds is None or phase == "starting":
            return self.seconds_of(phase)
        return min(self.silent_seconds, self.seconds_of(phase))
