"""The whole configuration, typed, closed and inert: it validates, it never acts. Defaults live on the field alone.

Units stand in key names. `null` means "off" or "the family's own" only where a field says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from nemo_prorl.config.closed import Closed
from nemo_prorl.config.verifiers import VerifierPoolConfig
from nemo_prorl.data.prompt import Domain


class Choice(BaseModel):
    """A plug-in by name, or by your own "module:attribute"; the other keys are its knobs, checked against itself."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: str = Field(min_length=1)

    def as_mapping(self) -> dict[str, Any]:
        return self.model_dump()


class RunConfig(Closed):
    dir: str = Field(
        "runs/prorl", min_length=1, description="everything the run writes goes here; an existing run there is resumed"
    )
    seed: int = Field(0, ge=0, description="of data order, sampling and fresh weights")
    torch_threads: int = Field(1, ge=1, description="CPU threads of torch in each rank")


class ModelConfig(Closed):
    path: str = Field(
        min_length=1, examples=["FOLDER"], description="folder with a Hugging Face model and its tokenizer"
    )


class MegatronConfig(Closed):
    """How the model is cut and run. None of it changes a loss or a gradient by more than rounding."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    tensor_parallel_size: int = Field(1, ge=1)
    sequence_parallel: bool = Field(False, description="cut norms and residuals over tensor-parallel ranks, too")
    pipeline_parallel_size: int = Field(1, ge=1)
    virtual_pipeline_size: int = Field(1, ge=1, description="model chunks of each pipeline stage, interleaved")
    context_parallel_size: int = Field(1, ge=1, description="ranks that share each sequence")
    distributed_optimizer: bool = Field(False, description="shard optimizer state over data-parallel ranks (ZeRO-1)")
    max_tokens_per_microbatch: int = Field(
        8192, ge=1, description="tokens of one forward pass on a rank; at least the longest row's share of one"
    )
    packing: bool = Field(True, description="rows end to end; false: each padded to the longest of its microbatch")
    share_prompts: bool = Field(
        True,
        description="compute a group's prompt once (not with Transformer Engine, context parallelism or packing=false)",
    )
    recompute: Literal["none", "selective", "full"] = Field(
        "none", description="what the backward pass computes again: nothing, core attention, or every layer"
    )
    offload: list[Literal["optimizer", "reference", "gradients"]] = Field(
        [], description="what leaves the device in phases that don't need it; on a CPU only gradients can go"
    )
    vocabulary_multiple: int = Field(
        128, ge=1, description="the vocabulary is padded to a multiple of this, in any layout"
    )
    collective_timeout_minutes: float = Field(30, gt=0, description="a collective that waits longer ends the run")

    @model_validator(mode="after")
    def _parts_fit_together(self) -> MegatronConfig:
        if self.sequence_parallel and self.tensor_parallel_size == 1:
            raise ValueError(
                "sequence_parallel=true cuts over tensor-parallel ranks, but tensor_parallel_size=1; set it to 2 or "
                "more, or sequence_parallel=false"
            )
        if self.virtual_pipeline_size > 1 and self.pipeline_parallel_size == 1:
            raise ValueError(
                f"virtual_pipeline_size={self.virtual_pipeline_size} needs pipeline_parallel_size of 2 or more; set "
                "virtual_pipeline_size=1"
            )
        return self


class OptimizerConfig(Closed):
    lr: float = Field(2e-6, gt=0, description="constant after warm-up")
    warmup_steps: int = Field(0, ge=0, description="optimizer steps over which lr grows linearly from 0")
    final_lr_fraction: float = Field(
        1.0, ge=0, le=1, description="lr falls linearly to this share of itself over a run"
    )
    beta1: float = Field(0.9, ge=0, lt=1)
    beta2: float = Field(0.95, ge=0, lt=1)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(0.1, ge=0)
    clip_grad_norm: float = Field(1.0, gt=0)


class KLConfig(Closed):
    value: Literal["k1", "k2", "k3"] = Field("k3", description="estimator of the KL's value (Eq. 4)")
    gradient: Literal["k1", "k2", "k3"] | None = Field(
        None, description="estimator whose gradient is used; null: the value's own (k3's is not the KL's gradient)"
    )


class CorrectionConfig(Closed):
    enabled: bool = Field(False, description="weigh tokens by policy/sampler probability, truncated (TIS)")
    max_weight: float = Field(2.0, gt=0)


class LossConfig(Closed):
    objective: Choice = Choice(name="clip_higher")
    aggregation: Choice = Choice(name="token_mean")
    kl: KLConfig = KLConfig()
    sampler_correction: CorrectionConfig = CorrectionConfig()


class ResetConfig(Closed):
    every_steps: int | None = Field(None, ge=1, description="reset after this many steps since the last; null: never")
    at_entry: bool = Field(False, description="reset when the stage begins (never at a run's very first step)")
    reference: bool = Field(True, description="a reset makes the reference the current policy")
    optimizer: bool = Field(True, description="a reset gives the optimizer fresh moments and step count")

    @model_validator(mode="after")
    def _a_reset_resets_something(self) -> ResetConfig:
        if (self.at_entry or self.every_steps) and not (self.reference or self.optimizer):
            raise ValueError("resets are due but neither the reference nor the optimizer is to be reset; set one true")
        return self


class StageConfig(Closed):
    """A stretch of training. In a recipe each stage inherits what it doesn't state from the one before it."""

    steps: int = Field(200, ge=1)
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
    reset: ResetConfig = ResetConfig()

    @model_validator(mode="after")
    def _updates_are_equal(self) -> StageConfig:
        if self.prompts_per_step % self.prompts_per_update:
            raise ValueError(
                f"prompts_per_step={self.prompts_per_step} must be a multiple of "
                f"prompts_per_update={self.prompts_per_update}: every update trains on equally many groups"
            )
        return self


class RecipeConfig(Closed):
    """`common` is what the first stage inherits; `stages` come in the order written."""

    stages: dict[str, StageConfig] = Field(min_length=1)


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


class SourceConfig(Choice):
    """One source of problems. `weight` is its share of the draws; `domain` is known to the source itself."""

    weight: float = Field(1.0, gt=0)


class DataConfig(Closed):
    sources: dict[str, SourceConfig] = Field(min_length=1)
    held_out: dict[str, SourceConfig] = Field(
        default={}, description="for validation; excluded from the training draws"
    )
    max_prompt_tokens: int = Field(1024, ge=1)
    long_prompts: Literal["error", "skip"] = Field(
        "error", description="what to do with a prompt over max_prompt_tokens"
    )


class ValidationConfig(Closed):
    every_steps: int | None = Field(None, ge=1, description="null: only after the last step")
    at_start: bool = Field(True, description="also before the first step")
    problems_per_task: int = Field(24, ge=1)
    samples_per_prompt: int = Field(16, ge=1)
    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)


class CheckpointConfig(Closed):
    every_steps: int | None = Field(50, ge=1, description="null: only at the end")
    keep_last: int = Field(2, ge=1)


class TelemetryConfig(Closed):
    tensorboard: bool = True
    wandb_project: str | None = Field(None, description="null: no Weights & Biases")
    log_level: Literal["DEBUG", "INFO", "WARNING"] = "INFO"
    samples_per_step: int = Field(2, ge=0, description="completions written to samples.jsonl each step")


class ExportConfig(Closed):
    at_end: bool = Field(True, description="write the final policy as a Hugging Face folder under the run's folder")
    dtype: Literal["fp32", "bf16"] = "bf16"
    max_shard_bytes: int = Field(5_000_000_000, ge=1_000_000)


class ProRLConfig(Closed):
    """What `prorl train` needs."""

    run: RunConfig = RunConfig()
    model: ModelConfig
    megatron: MegatronConfig = MegatronConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    loss: LossConfig = LossConfig()
    recipe: RecipeConfig
    sampling: SamplingBudgetConfig = SamplingBudgetConfig()
    data: DataConfig
    rollout: Choice = Choice(name="native")
    verifiers: VerifierPoolConfig = VerifierPoolConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    export: ExportConfig = ExportConfig()

    @model_validator(mode="after")
    def _prompt_leaves_room(self) -> ProRLConfig:
        for name, stage in self.recipe.stages.items():
            if self.data.max_prompt_tokens >= stage.context_tokens:
                raise ValueError(
                    f"data.max_prompt_tokens={self.data.max_prompt_tokens} leaves no room for a response in stage "
                    f"{name!r} with context_tokens={stage.context_tokens}; choose less than {stage.context_tokens}"
                )
        return self


class SupervisedConfig(Closed):
    """The cold start's own settings."""

    steps: int = Field(500, ge=1)
    sequences_per_step: int = Field(32, ge=1, description="of all data-parallel ranks together")
    max_sequence_tokens: int = Field(2048, ge=2)
    source: Choice = Field(description="rows of (messages, response), or solutions generated from reasoning-gym")


class SFTConfig(Closed):
    """What `prorl sft` needs."""

    run: RunConfig = RunConfig(dir="runs/sft")
    model: ModelConfig
    megatron: MegatronConfig = MegatronConfig()
    optimizer: OptimizerConfig = OptimizerConfig(lr=1e-5)
    sft: SupervisedConfig
    checkpoint: CheckpointConfig = CheckpointConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    export: ExportConfig = ExportConfig()


def as_knobs(choice: Choice, *without: str) -> Mapping[str, Any]:
    """A choice as `plugins.configured` takes it, less the keys that are not knobs."""
    return {key: value for key, value in choice.as_mapping().items() if key not in without}
