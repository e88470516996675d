"""The whole configuration, typed, closed and inert: it validates, it never acts. Defaults live on the field alone.

Units stand in key names. `null` means "off" or "the family's own" only where a field says so.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from nemo_prorl.config.alarms import AlarmsConfig
from nemo_prorl.config.choice import Choice
from nemo_prorl.config.closed import Closed
from nemo_prorl.config.data import DataConfig
from nemo_prorl.config.gate import GateConfig
from nemo_prorl.config.kept import CheckpointConfig, ExportConfig, TelemetryConfig
from nemo_prorl.config.precision import ChipName, FP8Config, PrecisionName
from nemo_prorl.config.sampling_budget import SamplingBudgetConfig
from nemo_prorl.config.stage import RecipeConfig
from nemo_prorl.config.updates import BadUpdatesConfig
from nemo_prorl.config.validation import ValidationConfig
from nemo_prorl.config.verifiers import VerifierPoolConfig
from nemo_prorl.config.watchdog import WatchdogConfig


class RunConfig(Closed):
    dir: str = Field(
        "runs/prorl", min_length=1, description="everything the run writes goes here; an existing run there is resumed"
    )
    seed: int = Field(0, ge=0, description="of data order, sampling and fresh weights")
    torch_threads: int = Field(1, ge=1, description="CPU threads of torch in each rank")
    max_hours: float | None = Field(
        None, gt=0, description="stop, save and exit with code 75 before this start has taken so long; null: no limit"
    )
    stop_margin_minutes: float = Field(
        10, ge=0, description="begin to stop so long before max_hours, or the Slurm job's end, whichever comes first"
    )

    engine_renewals: int = Field(
        1,
        ge=0,
        description="so often a rollout engine that fails is made anew and asked the same again; then the run "
        "saves and ends with code 11",
    )
    watchdog: WatchdogConfig = WatchdogConfig()

    @model_validator(mode="after")
    def _there_is_time_to_train(self) -> RunConfig:
        if self.max_hours is not None and 60 * self.max_hours <= self.stop_margin_minutes:
            raise ValueError(
                f"max_hours={self.max_hours:g} are not more than stop_margin_minutes={self.stop_margin_minutes:g}, so "
                "every start would stop before its first step; raise the one or lower the other"
            )
        return self


class ModelConfig(Closed):
    path: str = Field(
        min_length=1, examples=["FOLDER"], description="folder with a Hugging Face model and its tokenizer"
    )


class MegatronConfig(Closed):
    """How the model is cut and run. None of it changes a loss or a gradient by more than rounding."""

    device: Literal["auto", "cpu", "cuda"] = "auto"
    chip: ChipName | None = Field(
        None, description="the GPU that --dry-run plans for; null: none in particular. A run asks the one it finds"
    )
    precision: PrecisionName = Field(
        "fp32", description="of weights and activations; fp8_hybrid: bf16, with the layers' products in 8 bits"
    )
    fp8: FP8Config = FP8Config()
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
    attention_cost: float = Field(
        1.0,
        gt=0,
        description="time of one of attention's operations, in those of matrix products, by which groups are shared "
        "out evenly to data-parallel ranks; `python -m benchmarks costs` measures it",
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
    collective_timeout_minutes: float = Field(
        120,
        gt=0,
        description="a collective that waits longer ends the run; run.watchdog sees sooner, and says, who is missing",
    )

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
    clip_grad_norm: float = Field(1.0, gt=0, description="longer gradients are shortened to this norm")


class KLConfig(Closed):
    value: Literal["k1", "k2", "k3"] = Field("k3", description="estimator of the KL's value (Eq. 4)")
    gradient: Literal["k1", "k2", "k3"] | None = Field(
        None, description="estimator whose gradient is used; null: the value's own (k3's is not the KL's gradient)"
    )
    base_every_steps: int | None = Field(
        None,
        ge=1,
        description="measure the KL to the model of model.path, too, every so many steps; null: never. Costs a copy of "
        "the weights in the host's memory, and one more scoring of such a step's batch",
    )


class LossConfig(Closed):
    advantage: Choice = Field(
        Choice(name="group_relative"), description="how rewards are compared: within a group, or with the step's spread"
    )
    objective: Choice = Choice(name="clip_higher")
    aggregation: Choice = Choice(name="token_mean")
    kl: KLConfig = KLConfig()
    sampler_correction: Choice | None = Field(
        None,
        examples=["{name: token_tis}"],
        description="weigh tokens by policy/sampler probability where the sampler isn't quite the policy: token_tis "
        "(truncated), icepop (two-sided), sequence_mask; null: no correction",
    )


class ProRLConfig(Closed):
    """What `prorl train` needs."""

    run: RunConfig = RunConfig()
    model: ModelConfig
    megatron: MegatronConfig = MegatronConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    bad_updates: BadUpdatesConfig = BadUpdatesConfig()
    loss: LossConfig = LossConfig()
    recipe: RecipeConfig
    sampling: SamplingBudgetConfig = SamplingBudgetConfig()
    data: DataConfig
    rollout: Choice = Choice(name="native")
    gate: GateConfig = GateConfig()
    verifiers: VerifierPoolConfig = VerifierPoolConfig()
    validation: ValidationConfig = ValidationConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    telemetry: TelemetryConfig = TelemetryConfig()
    alarms: AlarmsConfig = AlarmsConfig()
    export: ExportConfig = ExportConfig()

    @model_validator(mode="after")
    def _validation_has_a_score(self) -> ProRLConfig:
        sets = self.data.held_out.values()
        if sets and not any(source.weight for source in sets):
            raise ValueError(
                "every set of data.held_out has weight=0, so there is no overall score; give one a weight above 0"
            )
        most = max((source.samples_per_prompt or self.validation.samples_per_prompt for source in sets), default=None)
        beyond = [k for k in self.validation.pass_at_k or () if most is not None and k > most]
        if beyond:
            raise ValueError(
                f"validation.pass_at_k asks for k={beyond}, more than the {most} samples of any set; raise "
                "validation.samples_per_prompt, or leave them out"
            )
        return self

    @model_validator(mode="after")
    def _carried_groups_are_corrected(self) -> ProRLConfig:
        if self.sampling.surplus == "carry" and self.loss.sampler_correction is None:
            raise ValueError(
                "sampling.surplus=carry trains on groups of an older policy, which takes a correction; set "
                "loss.sampler_correction.name=token_tis, or sampling.surplus=abort"
            )
        if self.sampling.surplus == "carry" and not self.sampling.drop_equal_groups:
            raise ValueError(
                "sampling.surplus=carry has nothing to carry where every group is trained on "
                "(sampling.drop_equal_groups=false); set one of the two otherwise"
            )
        return self

    @model_validator(mode="after")
    def _prompt_leaves_room(self) -> ProRLConfig:
        for name, stage in self.recipe.stages.items():
            if self.data.max_prompt_tokens >= stage.context_tokens:
                raise ValueError(
                    f"data.max_prompt_tokens={self.data.max_prompt_tokens} leaves no room for a response in stage "
                    f"{name!r} with context_tokens={stage.context_tokens}; choose less than {stage.context_tokens}"
                )
        return self

    @model_validator(mode="after")
    def _stages_draw_from_sources(self) -> ProRLConfig:
        for name, stage in self.recipe.stages.items():
            unknown = sorted(set(stage.source_weights) - set(self.data.sources))
            if unknown:
                raise ValueError(
                    f"stage {name!r}: source_weights names {', '.join(unknown)}, but data.sources has "
                    f"{', '.join(self.data.sources)}"
                )
        return self

    @model_validator(mode="after")
    def _a_kl_limit_has_a_kl(self) -> ProRLConfig:
        for name, stage in self.recipe.stages.items():
            if stage.reset.kl_limit and not stage.kl_weight:
                raise ValueError(
                    f"stage {name!r} has reset.kl_limit={stage.reset.kl_limit:g} but kl_weight=0, so there is no "
                    "reference and no KL; set a small kl_weight, or reset.kl_limit=null"
                )
        return self


class SupervisedConfig(Closed):
    """The cold start's own settings."""

    steps: int = Field(500, ge=1)
    sequences_per_step: int = Field(32, ge=1, description="of all data-parallel ranks together")
    max_sequence_tokens: int = Field(2048, ge=2, description="of question and answer; longer ones are an error")
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
