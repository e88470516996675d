"""What `prorl evaluate` needs. The defaults are the paper's (section 3.4)."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints, model_validator

from nemo_prorl.config.choice import Choice
from nemo_prorl.config.closed import Closed
from nemo_prorl.config.schema import RunConfig
from nemo_prorl.config.verifiers import VerifierPoolConfig

SetName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]+$")]  # files are called by it


class EvaluatedModelConfig(Closed):
    path: str = Field(
        min_length=1,
        examples=["MODEL_OR_CHECKPOINT"],
        description="a Hugging Face folder, or a checkpoint that prorl convert reads",
    )
    like: str | None = Field(
        None, description="Hugging Face folder that describes a checkpoint which doesn't say what model it is"
    )
    name: str | None = Field(
        None, min_length=1, description="as tables call it; null: its folder's name, or its run's and the step"
    )


class BenchmarkConfig(Choice):
    """A set to evaluate on: a source of problems by name with its knobs, and how it is asked. `null`: as `sampling` and
    `scores` say for all sets."""

    title: str | None = Field(None, description="null: the set's own")
    problems_per_task: int | None = Field(None, ge=1, description="the first ones; null: all, of a source that ends")
    samples_per_prompt: int | None = Field(None, ge=1, description="answers to each problem")
    score: Literal["by_domain", "solved", "reward"] = Field(
        "by_domain", description="share solved, or mean reward; by_domain: mean reward of logic and instruction"
    )
    solved_reward: float | None = Field(None, gt=0, le=1, description="from which reward on an answer is right")


class EvaluationSamplingConfig(Closed):
    samples_per_prompt: int = Field(16, ge=1, description="answers to each problem")
    temperature: float = Field(0.6, ge=0)
    top_p: float = Field(0.95, gt=0, le=1)
    top_k: int = Field(0, ge=0, description="0: all tokens")
    max_response_tokens: int = Field(32_768, ge=1, description="longer answers are cut")
    max_prompt_tokens: int = Field(8192, ge=1, description="the longest prompt that is asked, chat template included")
    long_prompts: Literal["error", "skip"] = Field("error", description="what to do with a longer prompt")
    problems_per_part: int = Field(
        8,
        ge=1,
        description="problems that are asked and stored together: larger parts keep an engine busier, smaller ones "
        "are shared out more evenly and lose less when a run is killed",
    )


class ScoresConfig(Closed):
    solved_reward: float = Field(
        1.0, gt=0, le=1, description="from which reward on an answer is right; the paper is strict"
    )
    pass_at_k: list[Annotated[int, Field(ge=1)]] | None = Field(
        None, description="the k of pass@k; a set leaves out those above its samples. null: powers of two"
    )
    beside: list[str] = Field([], description="models whose published numbers stand beside this one's in the tables")


class EvaluationLogConfig(Closed):
    log_level: Literal["DEBUG", "INFO", "WARNING"] = "INFO"


class EvaluateConfig(Closed):
    run: RunConfig = RunConfig(dir="runs/evaluation")
    model: EvaluatedModelConfig
    benchmarks: dict[SetName, BenchmarkConfig] = Field(min_length=1, description="the sets to evaluate on, by name")
    sampling: EvaluationSamplingConfig = EvaluationSamplingConfig()
    scores: ScoresConfig = ScoresConfig()
    device: Literal["auto", "cpu", "cuda"] = "auto"
    collective_timeout_minutes: float = Field(
        10_080, gt=0, description="how long ranks that are done wait for others: a week, since sets differ"
    )
    rollout: Choice = Choice(name="native")
    verifiers: VerifierPoolConfig = VerifierPoolConfig()
    telemetry: EvaluationLogConfig = EvaluationLogConfig()

    @model_validator(mode="after")
    def _every_set_has_a_k(self) -> EvaluateConfig:
        for name, one in self.benchmarks.items():
            samples = one.samples_per_prompt or self.sampling.samples_per_prompt
            if self.scores.pass_at_k and min(self.scores.pass_at_k) > samples:
                raise ValueError(
                    f"scores.pass_at_k={self.scores.pass_at_k}: every k is above the {samples} samples of benchmarks."
                    f"{name}; add a smaller k, or raise samples_per_prompt"
                )
        return self
