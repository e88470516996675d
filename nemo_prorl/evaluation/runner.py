"""Held-out validation: every problem answered several times, judged, and told as pass@1 and pass@k."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from statistics import fmean
from typing import Protocol

from nemo_prorl.config.schema import ValidationConfig
from nemo_prorl.control import StopReason, never, until_asked
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams, step_seed
from nemo_prorl.data.trajectory import Completion, Verdict
from nemo_prorl.errors import ConfigError, RolloutError
from nemo_prorl.evaluation.pass_at_k import pass_at_k
from nemo_prorl.rollout.engine import RolloutEngine
from nemo_prorl.world import World, gather_or_raise

SOLVED_REWARD = 0.99  # a verifier may give parts of a reward; only a whole one is a solution
OVERALL = "all"  # stands where a task's name stands: validation/all/pass_at_1


class Judges(Protocol):
    """What validation needs of a verifier pool."""

    def submit(self, prompt: Prompt, text: str) -> Future[Verdict]: ...

    def check_health(self) -> None: ...

    def drain_metrics(self) -> Mapping[str, float]: ...


@dataclass(frozen=True)
class ProblemScore:
    """A problem's `samples` answers: how many are right, were cut at the limit, or could not be judged."""

    task: str
    samples: int
    solved: int
    reward_mean: float
    truncated: int
    unjudged: int
    response_tokens: int


@dataclass(frozen=True)
class TaskScore:
    """Means over a task's problems; pass_at_k maps k to 1 - C(n-c, k)/C(n, k) of n samples, c of them right."""

    pass_at_k: Mapping[int, float]
    reward_mean: float
    truncated_fraction: float
    unjudged_fraction: float
    response_tokens_mean: float

    @classmethod
    def of_problems(cls, problems: Sequence[ProblemScore]) -> TaskScore:
        samples = problems[0].samples
        return cls(
            {k: fmean(pass_at_k(samples, p.solved, k) for p in problems) for k in sorted({1, samples})},
            fmean(p.reward_mean for p in problems),
            fmean(p.truncated / samples for p in problems),
            fmean(p.unjudged / samples for p in problems),
            fmean(p.response_tokens / samples for p in problems),
        )

    @classmethod
    def of_tasks(cls, tasks: Sequence[TaskScore]) -> TaskScore:
        """The mean over tasks: each weighs the same, however many problems it has."""
        return cls(
            {k: fmean(task.pass_at_k[k] for task in tasks) for k in tasks[0].pass_at_k},
            fmean(task.reward_mean for task in tasks),
            fmean(task.truncated_fraction for task in tasks),
            fmean(task.unjudged_fraction for task in tasks),
            fmean(task.response_tokens_mean for task in tasks),
        )

    def metrics(self, name: str) -> dict[str, float]:
        return {
            **{f"validation/{name}/pass_at_{k}": value for k, value in self.pass_at_k.items()},
            f"validation/{name}/reward_mean": self.reward_mean,
            f"validation/{name}/truncated_fraction": self.truncated_fraction,
            f"validation/{name}/unjudged_fraction": self.unjudged_fraction,
            f"validation/{name}/response_tokens_mean": self.response_tokens_mean,
        }

    def __str__(self) -> str:
        return ", ".join(f"pass@{k} {value:.3f}" for k, value in self.pass_at_k.items())


@dataclass(frozen=True)
class ValidationResult:
    """Scores by task, in order of name, and over all of them."""

    tasks: Mapping[str, TaskScore]
    overall: TaskScore

    @property
    def score(self) -> float:
        """What the trainer steers by: pass@1, the mean over tasks."""
        return self.overall.pass_at_k[1]

    @property
    def metrics(self) -> dict[str, float]:
        merged = self.overall.metrics(OVERALL)
        for name, task in self.tasks.items():
            merged |= task.metrics(name)
        return merged

    @property
    def summary(self) -> str:
        """One line for the reader."""
        return f"{self.overall} ({'; '.join(f'{name}: {task}' for name, task in self.tasks.items())})"


class Validator:
    """Asks the engine, which must hold the policy's weights, and the verifiers about every held-out problem.

    Problems are shared out over all ranks; every rank gets the same result, and it doesn't depend on their number.
    """

    def __init__(
        self,
        *,
        engine: RolloutEngine,
        pool: Judges,
        prompts: Sequence[Prompt],
        world: World,
        config: ValidationConfig,
        run_seed: int,
        stop_reason: StopReason = never,
    ) -> None:
        if not prompts:
            raise ConfigError("validation has no problems; give data.held_out a source, or leave validation out")
        if any(prompt.task == OVERALL for prompt in prompts):
            raise ConfigError(
                f"a held-out task is called {OVERALL!r}, which stands for all tasks; give it another name"
            )
        self._engine, self._pool, self._world = engine, pool, world
        self._prompts, self._config, self._run_seed = tuple(prompts), config, run_seed
        self._stop_reason = stop_reason

    def run(self, step: int, sampling: SamplingParams) -> ValidationResult:
        """Validate the policy of `step`; of `sampling`, the stage's own, only the token limits are used.

        Collective. A problem's answers depend on (run seed, step, problem, sample) and the weights alone.

        Raises:
            RolloutError: the engine left out a completion.
            VerifierError: verdicts fail too often to be trusted.
            Stopped: some rank was asked to stop, and there is no result; on every rank.
        """
        sampling = SamplingParams(
            samples_per_prompt=self._config.samples_per_prompt,
            max_response_tokens=sampling.max_response_tokens,
            context_tokens=sampling.context_tokens,
            temperature=self._config.temperature,
            top_p=self._config.top_p,
            seed=step_seed(self._run_seed, step, "validation"),
        )
        share = range(self._world.rank, len(self._prompts), self._world.size)
        scored, failure = self._try_to_score([self._prompts[number] for number in share], sampling)
        own = dict(zip(share, scored, strict=False))
        parts = gather_or_raise(self._world, own, failure, "validating")
        # Back in the problems' own order, so that sums don't depend on how they were shared out.
        by_number = {number: score for part in parts for number, score in part.items()}
        by_task: dict[str, list[ProblemScore]] = defaultdict(list)
        for number in range(len(self._prompts)):
            by_task[by_number[number].task].append(by_number[number])
        tasks = {name: TaskScore.of_problems(problems) for name, problems in sorted(by_task.items())}
        return ValidationResult(tasks, TaskScore.of_tasks(list(tasks.values())))

    def _try_to_score(
        self, prompts: Sequence[Prompt], sampling: SamplingParams
    ) -> tuple[list[ProblemScore], Exception | None]:
        """The scores, or why there are none: all ranks must learn of it, or they would wait for this one."""
        try:
            scores = self._score(prompts, sampling)
            self._pool.check_health()
            self._pool.drain_metrics()  # what was judged here must not be counted with the next training step
        except Exception as failure:
            return [], failure
        return scores, None

    def _score(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> list[ProblemScore]:
        """Each completion goes to the verifiers as soon as it is there, while others are still generated."""
        answers: list[dict[int, tuple[Completion, Future[Verdict]]]] = [{} for _ in prompts]
        sampled = self._engine.generate(prompts, sampling) if prompts else iter(())
        for number, sample, completion in until_asked(sampled, self._stop_reason):
            answers[number][sample] = (completion, self._pool.submit(prompts[number], completion.text))
        for prompt, found in zip(prompts, answers, strict=True):
            if len(found) != sampling.samples_per_prompt:
                raise RolloutError(
                    f"validation of {prompt.uid!r}: the engine gave {len(found)} completions of the "
                    f"{sampling.samples_per_prompt} it was asked for; this is a bug in the engine"
                )
        return [_problem_score(prompt, found) for prompt, found in zip(prompts, answers, strict=True)]


def _problem_score(prompt: Prompt, found: Mapping[int, tuple[Completion, Future[Verdict]]]) -> ProblemScore:
    completions = [found[sample][0] for sample in sorted(found)]
    verdicts = [found[sample][1].result() for sample in sorted(found)]
    return ProblemScore(
        task=prompt.task,
        samples=len(verdicts),
        solved=sum(verdict.reward >= SOLVED_REWARD for verdict in verdicts),
        reward_mean=fmean(verdict.reward for verdict in verdicts),
        truncated=sum(completion.finish_reason == "length" for completion in completions),
        unjudged=sum(verdict.outcome in ("timeout", "error") for verdict in verdicts),
        response_tokens=sum(len(completion.token_ids) for completion in completions),
    )
