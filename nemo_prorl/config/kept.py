"""What a run leaves behind: checkpoints, records, an export."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from nemo_prorl.config.closed import Closed


class CheckpointConfig(Closed):
    """When a checkpoint is written, and which of them stay. One that stays for several reasons counts for each."""

    every_steps: int | None = Field(50, ge=1, description="null: only at the end")
    keep_last: int = Field(2, ge=1, description="so many of the last")
    keep_best: int = Field(
        1, ge=0, description="so many of the best by validation score; a new best is saved at once. 0: none"
    )
    keep_every_steps: int | None = Field(
        None, ge=1, description="those of each such step stay for good, if one is written then; null: none"
    )
    keep_at_resets: bool = Field(False, description="one is written right after each reset, and stays for good")
    asynchronous: bool = Field(
        True, description="training goes on while files are written, from a copy in the host's memory"
    )


class TelemetryConfig(Closed):
    tensorboard: bool = True
    wandb_project: str | None = Field(None, description="null: no Weights & Biases")
    log_level: Literal["DEBUG", "INFO", "WARNING"] = "INFO"
    samples_per_step: int = Field(2, ge=0, description="completions written to samples.jsonl each step")
    samples_per_validation_set: int = Field(
        2, ge=0, description="completions of each set written to validation_samples.jsonl each validation"
    )


class ExportConfig(Closed):
    at_end: bool = Field(True, description="write the final policy as a Hugging Face folder under the run's folder")
    dtype: Literal["fp32", "bf16"] = "bf16"
    max_shard_bytes: int = Field(5_000_000_000, ge=1_000_000, description="of each file of weights")
