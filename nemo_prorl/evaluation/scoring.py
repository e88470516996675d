"""What came of an evaluation, from its stored answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.errors import DataError
from nemo_prorl.evaluation.estimate import is_scored_by_reward
from nemo_prorl.evaluation.folder import Answers, EvaluationFolder
from nemo_prorl.evaluation.pass_at_k import estimated_bound, pass_at_k_by_correct, powers_of_two
from nemo_prorl.evaluation.records import ScoreRecord, SetRecord, SetScore
from nemo_prorl.evaluation.resampling import Resampled, resampled

MIXED = "mixed"
PLAIN = ("score", "solved", "reward", "response_tokens", "truncated", "no_answer", "unjudged")


class TaskNumbers:
    """A task, or several of them, resampled: everything that `ScoreRecord` says."""

    def __init__(
        self,
        domain: str,
        problems: int,
        measures: Mapping[str, Resampled],
        passes: Mapping[int, Resampled],
        bounds: Mapping[int, float],
    ) -> None:
        self.domain, self.problems, self.measures, self.passes, self.bounds = domain, problems, measures, passes, bounds

    @classmethod
    def of(cls, answers: Sequence[Answers], asked: SetRecord, ks: Sequence[int]) -> TaskNumbers:
        """Of one task's problems, each answered as often as was asked."""
        domain, samples = answers[0].domain, asked.samples_per_prompt
        solved_P = np.array([answer.solved(asked.solved_reward) for answer in answers])
        reward_P = np.array([answer.rewards.mean() for answer in answers])
        share_P = solved_P / samples
        plain = (
            reward_P if is_scored_by_reward(asked.score, domain) else share_P,
            share_P,
            reward_P,
            np.array([answer.response_tokens.mean() for answer in answers]),
            _shares([answer.finish_reasons for answer in answers], ("length",)),
            _shares([answer.outcomes for answer in answers], ("no_answer",)),
            _shares([answer.outcomes for answer in answers], ("timeout", "error")),
        )
        passes = [pass_at_k_by_correct(samples, k)[solved_P] for k in ks]
        found = resampled(np.stack([*plain, *passes]), answers[0].task)
        return cls(
            domain,
            len(answers),
            dict(zip(PLAIN, found, strict=False)),
            dict(zip(ks, found[len(PLAIN) :], strict=True)),
            {k: estimated_bound(share_P, samples, k) for k in ks if k > 1},
        )

    @classmethod
    def mean(cls, parts: Sequence[TaskNumbers]) -> TaskNumbers:
        """Each task counts the same."""
        domains = {part.domain for part in parts}
        return cls(
            domains.pop() if len(domains) == 1 else MIXED,
            sum(part.problems for part in parts),
            {name: Resampled.mean([part.measures[name] for part in parts]) for name in PLAIN},
            {k: Resampled.mean([part.passes[k] for part in parts]) for k in parts[0].passes},
            {k: float(np.mean([part.bounds[k] for part in parts])) for k in parts[0].bounds},
        )

    def record(self) -> ScoreRecord:
        return ScoreRecord(
            domain=self.domain,
            problems=self.problems,
            pass_at_k={k: found.measure() for k, found in self.passes.items()},
            pass_at_k_bound=self.bounds,
            **{name: found.measure() for name, found in self.measures.items()},
        )


class SetNumbers:
    """A set's tasks, in order of name, and their mean."""

    def __init__(self, asked: SetRecord, tasks: Mapping[str, TaskNumbers]) -> None:
        self.asked, self.tasks = asked, tasks
        self.whole = TaskNumbers.mean(list(tasks.values()))

    @classmethod
    def read(cls, folder: EvaluationFolder, name: str, asked: SetRecord, ks: Sequence[int] | None = None) -> SetNumbers:
        """From the stored answers of a set; `ks` None: powers of two.

        Raises:
            DataError: not every problem has as many answers as were asked for.
        """
        answers = folder.answers(name)
        check_whole(folder, name, asked, answers)
        known = [k for k in ks or powers_of_two(asked.samples_per_prompt) if k <= asked.samples_per_prompt]
        by_task = groupby(sorted(answers, key=lambda answer: answer.task), key=lambda answer: answer.task)
        return cls(asked, {task: TaskNumbers.of(list(found), asked, known) for task, found in by_task})

    def record(self) -> SetScore:
        tasks = {task: numbers.record() for task, numbers in self.tasks.items()}
        return SetScore(
            **self.whole.record().model_dump(),
            title=self.asked.title,
            samples_per_prompt=self.asked.samples_per_prompt,
            tasks=tasks,
        )


def check_whole(folder: EvaluationFolder, name: str, asked: SetRecord, answers: Sequence[Answers]) -> None:
    """
    Raises:
        DataError: not every problem has as many answers as were asked for.
    """
    short = [answer.uid for answer in answers if len(answer.rewards) != asked.samples_per_prompt]
    if short or len(answers) != asked.problems:
        raise DataError(
            f"{folder.path}: set {name!r} has answers to {len(answers)} of {asked.problems} problems"
            + (f", and not {asked.samples_per_prompt} to {', '.join(short[:3])}" if short else "")
            + ". Run the same `prorl evaluate` again: it goes on"
        )


def _shares(said: Sequence[Sequence[str]], counted: Sequence[str]) -> NDArray[np.float64]:
    return np.array([np.mean([one in counted for one in each]) for each in said])
