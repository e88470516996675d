"""A validation set, and what one problem of it earned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from statistics import fmean

from nemo_prorl.config.schema import ProRLConfig
from nemo_prorl.config.validation import HeldOutConfig, ValidationConfig
from nemo_prorl.data.mixture import Objection, held_out
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sources.base import Source
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.data.trajectory import Group
from nemo_prorl.errors import ConfigError
from nemo_prorl.evaluation.estimate import REWARD, SCORE, Estimate, Scores, is_scored_by_reward, pass_name
from nemo_prorl.evaluation.pass_at_k import pass_at_k


@dataclass(frozen=True)
class ValidationSet:
    """Problems that are validated together, and how they count.

    weight              of the set's score in the overall one
    every_validations   the set takes part in every so many validations, from the first on; in the last one, too, and in
                        the first with other token limits
    samples_per_prompt  answers to each problem
    ks                  of pass@k, from 1 to samples_per_prompt
    solved_reward       from which reward on an answer is right
    score               solved, reward, or by_domain, see `estimate.CONTINUOUS`
    """

    name: str
    prompts: tuple[Prompt, ...]
    weight: float = 1.0
    every_validations: int = 1
    samples_per_prompt: int = 16
    ks: tuple[int, ...] = (1, 16)
    solved_reward: float = 0.99
    score: str = "by_domain"

    def __post_init__(self) -> None:
        if not self.prompts:
            raise ConfigError(f"validation set {self.name!r} has no problems; give its source some, or take it out")
        if not set(self.ks) <= set(range(1, self.samples_per_prompt + 1)):
            raise ConfigError(
                f"validation set {self.name!r}: pass@k of k={list(self.ks)} from {self.samples_per_prompt} samples; k "
                "is at least 1 and at most the samples"
            )

    @classmethod
    def from_config(
        cls, name: str, prompts: Sequence[Prompt], config: HeldOutConfig, common: ValidationConfig
    ) -> ValidationSet:
        samples = config.samples_per_prompt or common.samples_per_prompt
        asked = (1, samples) if common.pass_at_k is None else common.pass_at_k
        return cls(
            name=name,
            prompts=tuple(prompts),
            weight=config.weight,
            every_validations=config.every_validations,
            samples_per_prompt=samples,
            ks=tuple(sorted(k for k in {1, *asked} if k <= samples)),
            solved_reward=config.solved_reward or common.solved_reward,
            score=config.score,
        )

    @property
    def measures(self) -> tuple[str, ...]:
        """What is known of each problem of it, by name."""
        counted = ("truncated_fraction", "unjudged_fraction", "response_tokens_mean")
        return (SCORE, *(pass_name(k) for k in self.ks), REWARD, *counted)


def validation_sets(
    sources: Mapping[str, Source], config: ProRLConfig, tokenizer: Tokenizer, objection: Objection | None
) -> list[ValidationSet]:
    """The sets of data.held_out, whose opened `sources` are given, in order of name; none has what can't be judged.

    Raises:
        ConfigError, DataError: a set without problems, or whose problems don't fit; see `held_out`.
    """
    sets = []
    for name, chosen in sorted(config.data.held_out.items()):
        prompts = held_out(
            {name: sources[name]},
            tokenizer,
            problems_per_task=chosen.problems_per_task or config.validation.problems_per_task,
            max_prompt_tokens=config.data.max_prompt_tokens,
            long_prompts=config.data.long_prompts,
            objection=objection,
        )
        sets.append(ValidationSet.from_config(name, prompts, chosen, config.validation))
    return sets


@dataclass(frozen=True)
class ProblemScore:
    """What the answers to one problem earned: `values` by name, each over the problem's answers."""

    set_name: str
    domain: str
    task: str
    values: dict[str, float]

    @classmethod
    def of(cls, of_set: ValidationSet, group: Group) -> ProblemScore:
        samples = len(group.verdicts)
        solved = sum(reward >= of_set.solved_reward for reward in group.rewards)
        reward = fmean(group.rewards)
        values = (
            reward if is_scored_by_reward(of_set.score, group.prompt.domain) else solved / samples,
            *(pass_at_k(samples, solved, k) for k in of_set.ks),
            reward,
            fmean(reason == "length" for reason in group.finish_reasons),
            fmean(verdict.outcome in ("timeout", "error") for verdict in group.verdicts),
            fmean(group.lengths),
        )
        named = dict(zip(of_set.measures, values, strict=True))
        return cls(of_set.name, group.prompt.domain, group.prompt.task, named)

    @classmethod
    def nothing(cls, of_set: ValidationSet, prompt: Prompt) -> ProblemScore:
        """Zeros: what a validation will know, before there is one."""
        return cls(of_set.name, prompt.domain, prompt.task, dict.fromkeys(of_set.measures, 0.0))


@dataclass(frozen=True)
class TaskScore:
    """A task of a set, as it stood when the set was last run, before step number `step` + 1."""

    set_name: str
    domain: str
    task: str
    step: int
    scores: Scores

    @classmethod
    def of_problems(cls, problems: Sequence[ProblemScore], step: int) -> TaskScore:
        """Of one set's problems of one task."""
        first = problems[0]
        scores = {name: Estimate.of_problems([p.values[name] for p in problems]) for name in first.values}
        return cls(first.set_name, first.domain, first.task, step, Scores(scores))


def by_task(problems: Sequence[ProblemScore], step: int) -> list[TaskScore]:
    """One set's problems, task by task, domains and tasks in order of name."""

    def kind(problem: ProblemScore) -> tuple[str, str]:
        return problem.domain, problem.task

    tasks = groupby(sorted(problems, key=kind), key=kind)
    return [TaskScore.of_problems(list(of_task), step) for _, of_task in tasks]
