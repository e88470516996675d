"""What an evaluation says in JSON: what was asked of which model, and what came of it.

Every document is typed and closed. Numbers are shares of 1, not per cent. Nothing in them depends on the time of day or
on how often an evaluation was interrupted, so equal evaluations have equal files.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field

from nemo_prorl.config.closed import Closed


class ModelRecord(Closed):
    """Whose answers they are. `identity` tells its weights from others; `step` of a checkpoint that says so."""

    name: str = Field(min_length=1, description="as tables and plots call it")
    path: str
    format: str = Field(description="hugging-face, prorl, megatron-lm, megatron-bridge or nemo")
    identity: str
    step: int | None = None


class SamplingRecord(Closed):
    temperature: float
    top_p: float
    top_k: int
    max_response_tokens: int
    context_tokens: int
    seed: int


class SetRecord(Closed):
    """A set of problems, and how they were asked. `identity` tells its questions from others."""

    title: str
    problems: int = Field(ge=1)
    samples_per_prompt: int = Field(ge=1)
    solved_reward: float = Field(gt=0, le=1, description="from which reward on an answer is right")
    score: Literal["by_domain", "solved", "reward"]
    problems_per_part: int = Field(ge=1)
    identity: str


class Manifest(Closed):
    """manifest.json, written before the first sample: what the folder holds, or will hold when it is done."""

    format: Literal[1] = 1
    model: ModelRecord
    engine: str
    sampling: SamplingRecord
    sets: Mapping[str, SetRecord]
    taken_out: Mapping[str, SetRecord] = Field({}, description="sets of earlier calls whose answers still lie there")
    versions: Mapping[str, str] = Field(description="of the packages that it began with")


class Measure(Closed):
    """A mean over problems; its standard error and 95 % interval by bootstrap over problems; null: a single problem."""

    value: float
    standard_error: float | None = None
    low: float | None = None
    high: float | None = None


class ScoreRecord(Closed):
    """What is known of a task, a set, or an average of them.

    score               the number of the paper's tables: `solved`, or `reward` where rewards are continuous
    solved              share of answers that are right (pass@1)
    reward              mean reward
    pass_at_k           unbiased, by k
    pass_at_k_bound     Eq. 5's bound on it, by k, from the same answers; k >= 2
    """

    domain: str = Field(description='"mixed" where there are several')
    problems: int
    score: Measure
    solved: Measure
    reward: Measure
    pass_at_k: Mapping[int, Measure]
    pass_at_k_bound: Mapping[int, float]
    response_tokens: Measure
    truncated: Measure = Field(description="share of answers that were cut at the limit")
    no_answer: Measure = Field(description="share of answers in which the verifier found nothing to judge")
    unjudged: Measure = Field(description="share whose verifier ran out of time or failed")


class SetScore(ScoreRecord):
    """A set: the mean over its tasks, each counting the same whatever number of problems it has."""

    title: str
    samples_per_prompt: int
    tasks: Mapping[str, ScoreRecord]


class Column(Closed):
    """A number of a table: this model's, and the paper's beside it by model, in the table's own unit, per cent."""

    name: str
    measure: Measure | None = Field(
        description="in per cent; null: the set wasn't evaluated, or not by all of its parts"
    )
    published: Mapping[str, float] = {}


class Table(Closed):
    """A table in the paper's layout: `source` says which one it is there."""

    title: str
    source: str
    columns: tuple[Column, ...]


class Results(Closed):
    """results.json: what came of it. It is written when every sample is there."""

    format: Literal[1] = 1
    model: ModelRecord
    sets: Mapping[str, SetScore]
    tables: tuple[Table, ...]
