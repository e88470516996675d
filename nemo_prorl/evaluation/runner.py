"""Held-out validation: each problem of the sets whose turn it is gets several answers, which are judged and scored."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from nemo_prorl.config.validation import ValidationConfig
from nemo_prorl.control import StopReason, never
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams, step_seed
from nemo_prorl.data.trajectory import Group
from nemo_prorl.errors import ConfigError
from nemo_prorl.evaluation.asking import judged_groups
from nemo_prorl.evaluation.estimate import OVERALL, Estimate, Scores
from nemo_prorl.evaluation.result import BestBy, ValidationResult
from nemo_prorl.evaluation.time_share import TimeShare
from nemo_prorl.evaluation.validation_set import ProblemScore, TaskScore, ValidationSet, by_task
from nemo_prorl.rollout.engine import RolloutEngine
from nemo_prorl.rollout.sampling import VerdictPool
from nemo_prorl.world import World, gather_or_raise

log = logging.getLogger(__name__)


class Problem(NamedTuple):
    """A problem of a validation. `is_example`: its answers are to be written down."""

    of_set: ValidationSet
    prompt: Prompt
    is_example: bool


class Judged(NamedTuple):
    score: ProblemScore
    example: Group | None


class Validator:
    """Asks the engine, which must hold the policy's weights, and the verifiers about the held-out problems.

    Problems are shared out over all ranks; every rank gets the same result, and it doesn't depend on their number.

    Raises:
        ConfigError: there are no sets, or no validation of them has the metric `best_metric`.
    """

    def __init__(
        self,
        *,
        engine: RolloutEngine,
        pool: VerdictPool,
        sets: Sequence[ValidationSet],
        world: World,
        config: ValidationConfig,
        run_seed: int,
        stop_reason: StopReason = never,
        examples_per_set: int = 0,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        if not sets:
            raise ConfigError("validation has no problems; give data.held_out a source, or leave validation out")
        if any(prompt.task == OVERALL for one in sets for prompt in one.prompts):
            raise ConfigError(
                f"a held-out task is called {OVERALL!r}, which stands for all tasks; give it another name"
            )
        self._engine, self._pool, self._world = engine, pool, world
        self._sets, self._config, self._run_seed = tuple(sets), config, run_seed
        self._examples_per_set, self._stop_reason = examples_per_set, stop_reason
        self._best_by = BestBy(config.best_metric, smaller_is_better=config.best_mode == "min")
        self._time = TimeShare(config.max_time_share, clock)
        self._number = 0  # of validations so far
        self._due_since: int | None = None  # the step at which one was put off
        self._known: dict[str, list[TaskScore]] = {}  # by set, as it was last run
        self._limits: list[int] | None = None  # of tokens, in the last validation
        zeros = {one.name: by_task([ProblemScore.nothing(one, prompt) for prompt in one.prompts], 0) for one in sets}
        self._best_by.check(list(self._result(0, zeros).metrics))  # now rather than after the first validation

    def takes_turn(self, step: int, *, is_due: bool, is_last: bool) -> bool:
        """Whether a validation is to be run after `step` steps. Collective.

        One that would take more than `max_time_share` is put off to the first step that has room for it. The last of a
        run is never put off.
        """
        if is_due and self._due_since is None:
            self._due_since = step
        if self._due_since is None or is_last or self._time.most is None:
            return self._due_since is not None
        has_room = self._world.broadcast(self._time.has_room())  # clocks differ, and all ranks must do the same
        if not has_room and self._due_since == step:
            log.info(
                "the validation after step %d is put off: validation has taken %.0f %% of the time, at most %.0f %%",
                *(step, 100 * self._time.share, 100 * self._time.most),
            )
        return has_room

    def run(self, step: int, sampling: SamplingParams, *, is_last: bool = False) -> ValidationResult:
        """Validate the policy of `step`; of `sampling`, the stage's own, only the token limits are used.

        Collective. A problem's answers depend on (run seed, step, problem, sample) and the weights alone.

        Raises:
            RolloutError: the engine left out a completion.
            VerifierError: verdicts fail too often to be trusted.
            Stopped: some rank was asked to stop, and there is no result; on every rank.
        """
        limits = [sampling.context_tokens, sampling.max_response_tokens]
        takes_all = is_last or limits != self._limits  # what was answered within other limits can't be compared
        with self._time.spending():
            chosen = [one for one in self._sets if takes_all or self._is_up(one)]
            judged = self._judged(self._problems(chosen), step, sampling)
        for one in chosen:
            scores = [found.score for found in judged if found.score.set_name == one.name]
            self._known[one.name] = by_task(scores, step)
        result = replace(
            self._result(step, self._known),
            notes=self._notes(step),
            examples={one.name: _examples(judged, one.name) for one in chosen},
        )
        self._number, self._due_since, self._limits = self._number + 1, None, limits
        return result

    def state_dict(self) -> dict[str, Any]:
        """What a resumed run must know to go on as this one would: JSON types only."""
        known = [
            [cell.set_name, cell.domain, cell.task, cell.step, {name: list(e) for name, e in cell.scores.items()}]
            for cells in self._known.values()
            for cell in cells
        ]
        times = self._time.state_dict()
        own = {"number": self._number, "due_since": self._due_since, "limits": self._limits}
        return {**own, "times": times, "known": known}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """A set that is new is run in the next validation; one that is gone is forgotten."""
        names = {one.name for one in self._sets}
        self._number, self._due_since, self._limits = state["number"], state["due_since"], state["limits"]
        self._time.load_state_dict(state["times"])
        self._known = {}
        for set_name, domain, task, step, scores in state["known"]:
            cell = TaskScore(set_name, domain, task, step, Scores({name: Estimate(*e) for name, e in scores.items()}))
            if set_name in names:
                self._known.setdefault(set_name, []).append(cell)

    def _result(self, step: int, known: Mapping[str, Sequence[TaskScore]]) -> ValidationResult:
        cells = tuple(cell for one in self._sets for cell in known[one.name])
        return ValidationResult(step, cells, {one.name: one.weight for one in self._sets}, self._best_by)

    def _is_up(self, one: ValidationSet) -> bool:
        return one.name not in self._known or self._number % one.every_validations == 0

    def _notes(self, step: int) -> dict[str, float]:
        if self._time.most is None:
            return {}
        put_off = step - self._due_since if self._due_since is not None else 0
        return {"validation/put_off_steps": put_off, "time/validation_share": self._time.share}

    def _problems(self, sets: Sequence[ValidationSet]) -> list[Problem]:
        return [
            Problem(one, prompt, number < self._examples_per_set)
            for one in sets
            for number, prompt in enumerate(one.prompts)
        ]

    def _judged(self, problems: Sequence[Problem], step: int, sampling: SamplingParams) -> list[Judged]:
        """Every problem's score, in the problems' own order, so that sums don't depend on how they were shared out."""
        share = range(self._world.rank, len(problems), self._world.size)
        judged, failure = self._try_to_judge([problems[number] for number in share], step, sampling)
        own = dict(zip(share, judged, strict=False))
        parts = gather_or_raise(self._world, own, failure, "validating")
        by_number = {number: found for part in parts for number, found in part.items()}
        return [by_number[number] for number in range(len(problems))]

    def _try_to_judge(
        self, problems: Sequence[Problem], step: int, sampling: SamplingParams
    ) -> tuple[list[Judged], Exception | None]:
        """The scores, or why there are none: all ranks must learn of it, or they would wait for this one."""
        try:
            judged: dict[int, Judged] = {}
            for samples in sorted({problem.of_set.samples_per_prompt for problem in problems}):
                numbers = [n for n, problem in enumerate(problems) if problem.of_set.samples_per_prompt == samples]
                wanted = self._sampling(sampling, samples, step)
                judged.update(zip(numbers, self._judge([problems[n] for n in numbers], wanted), strict=True))
            self._pool.check_health()
            self._pool.drain_metrics()  # what was judged here must not be counted with the next training step
        except Exception as failure:
            return [], failure
        return [judged[number] for number in range(len(problems))], None

    def _sampling(self, limits: SamplingParams, samples: int, step: int) -> SamplingParams:
        return SamplingParams(
            samples_per_prompt=samples,
            max_response_tokens=limits.max_response_tokens,
            context_tokens=limits.context_tokens,
            temperature=self._config.temperature,
            top_p=self._config.top_p,
            seed=step_seed(self._run_seed, step, "validation"),
        )

    def _judge(self, problems: Sequence[Problem], sampling: SamplingParams) -> Iterator[Judged]:
        prompts = [problem.prompt for problem in problems]
        groups = judged_groups(self._engine, self._pool, prompts, sampling, self._stop_reason)
        for problem, group in zip(problems, groups, strict=True):
            yield Judged(ProblemScore.of(problem.of_set, group), group if problem.is_example else None)


def _examples(judged: Sequence[Judged], set_name: str) -> list[Group]:
    return [found.example for found in judged if found.example is not None and found.score.set_name == set_name]
