"""Settings of `prorl data prepare`."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from nemo_prorl.config.choice import Choice
from nemo_prorl.config.closed import Closed
from nemo_prorl.config.verifiers import VerifierPoolConfig
from nemo_prorl.data.prompt import Domain


class PreparedSourceConfig(Choice):
    """A source by its converter's name, or your own "module:Class"; keys beside these are the converter's knobs."""

    folder: str | None = Field(None, description="read downloaded files there instead of the hub's")
    revision: str | None = Field(
        None,
        description="commit, branch or tag on the hub; null: the newest at the first time, and that one ever after",
    )
    files: str | None = Field(
        None, description="pattern of the files to read there; null: those that name the source's split"
    )
    problems: int | None = Field(None, ge=1, description="at most so many for training, drawn by seed; null: all")


class JudgeConfig(Closed):
    """The language model that compares solutions, where a source asks for one (sources.scp116k.agreement=judge)."""

    base_url: str = Field("https://api.openai.com/v1", min_length=1, description="of an OpenAI-compatible API")
    model: str = Field("gpt-4o", min_length=1, description="the paper's")
    api_key_variable: str = Field(
        "OPENAI_API_KEY", description="the environment variable that has the key; unset: none"
    )
    parameters: dict[str, Any] = Field(
        {"temperature": 0.0, "max_tokens": 400}, description="sent with each question as they are"
    )
    concurrency: int = Field(16, ge=1, description="questions at a time")
    timeout_seconds: float = Field(60.0, gt=0, description="for one question, as often as it is asked")
    attempts: int = Field(6, ge=1, description="of one question, while the server or the way to it fails")
    first_wait_seconds: float = Field(1.0, gt=0, description="before the second attempt; doubled each time")
    malformed_attempts: int = Field(3, ge=1, description="of one question, while no verdict is in the answer")
    both_orders: bool = Field(False, description="ask twice, with the solutions exchanged; both must be the same")
    max_solution_chars: int = Field(8000, ge=100, description="of each solution its last so many are shown")
    dollars_per_million_input: float = Field(2.5, ge=0, description="tokens; for the cost shown")
    dollars_per_million_output: float = Field(10.0, ge=0, description="tokens; for the cost shown")
    max_dollars: float | None = Field(None, gt=0, description="stop when a preparation has cost so much; null: never")


class QualityConfig(Closed):
    """What is looked for in every source; what is found is left out, counted by reason and listed."""

    verifiable: bool = Field(True, description="references that are missing, or that their verifier can't read")
    exact_duplicates: bool = Field(True, description="questions asked before, word for word")
    near_duplicates: bool = Field(True, description="of other wording; not among generated puzzles")
    near_duplicate_similarity: float = Field(0.8, gt=0, le=1, description="of runs of three words, by Jaccard")
    evaluation: dict[str, Choice] = Field(
        {}, description="sets to be measured on, as sources of data.held_out are given; what they ask is left out"
    )
    own_reference: list[Domain] = Field(
        ["math", "stem", "code"], description="domains whose verifier must accept the reference's own answer"
    )
    tokenizer: str | None = Field(
        None, examples=["FOLDER"], description="of the model, for max_prompt_tokens; null: lengths are left to training"
    )
    max_prompt_tokens: int = Field(2048, ge=1, description="longer questions are left out, where tokenizer is set")


class PrepareConfig(Closed):
    """What `prorl data prepare` needs."""

    folder: str = Field("data/prorl", min_length=1, description="the prepared files go here")
    format: Literal["jsonl", "parquet"] = Field("jsonl", description="of the files written")
    only: list[str] = Field([], description="names among `sources`; empty: all of them")
    seed: int = Field(0, ge=0, description="of the draw where a source has more than is asked for")
    replace: bool = Field(False, description="prepare anew what is there with other settings")
    processes: int = Field(2, ge=1, description="that make problems at the same time")
    sources: dict[str, PreparedSourceConfig] = Field(min_length=1)
    quality: QualityConfig = QualityConfig()
    judge: JudgeConfig = JudgeConfig()
    verifiers: VerifierPoolConfig = VerifierPoolConfig()

    @model_validator(mode="after")
    def _only_names_sources(self) -> PrepareConfig:
        if unknown := [name for name in self.only if name not in self.sources]:
            raise ValueError(f"only={self.only} names {', '.join(unknown)}; the sources are {', '.join(self.sources)}")
        return self
