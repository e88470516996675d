"""Sampling and judging until enough groups teach: dynamic sampling with exact refill, over any number of ranks."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

from nemo_prorl.config.schema import SamplingBudgetConfig
from nemo_prorl.control import StopReason, never, until_asked
from nemo_prorl.data.balance import BY_TOKENS, TrainingCost, balanced_parts
from nemo_prorl.data.blend import Blend
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams, step_seed
from nemo_prorl.data.trajectory import Completion, Group, Verdict
from nemo_prorl.errors import ConfigError, RolloutError
from nemo_prorl.recipe import Stage
from nemo_prorl.rollout.engine import RolloutEngine
from nemo_prorl.rollout.summary import GroupSummary, merged_pool_metrics, sampling_metrics, why_too_few_teach
from nemo_prorl.world import World, gather_or_raise

log = logging.getLogger(__name__)

ADVICE = (
    "\nChange what a line above asks for; or raise sampling.max_rounds or sampling.oversample; or set "
    "sampling.on_exhausted=skip to leave out the updates that can't be filled."
)


class PromptSource(Protocol):
    """What the collector asks of the mixture: prompts the same on every rank, in whatever portions drawn."""

    def draw(self, n: int, blend: Blend, *, avoid: Collection[str]) -> list[Prompt]: ...

    def put_back(self, n: int) -> None: ...

    def observe(self, groups: Iterable[tuple[str, Sequence[float]]]) -> None: ...


class VerdictPool(Protocol):
    """What the collector asks of the verifiers."""

    def submit(self, prompt: Prompt, text: str) -> Future[Verdict]: ...

    def drain_metrics(self) -> dict[str, float]: ...

    def check_health(self) -> None: ...


@dataclass(frozen=True)
class Collected:
    """A step's harvest.

    `groups` is this data rank's share, in the order of updates: the first part of it belongs to the first update, and
    so on; `updates` says how many there are, fewer than the stage wants when sampling was given up. No groups: the step
    is to be left out. `metrics` is the same on every rank. `examples` are groups that this rank sampled in the step's
    first round, kept or not.
    """

    groups: list[Group]
    updates: int
    metrics: dict[str, float]
    examples: list[Group]


class Draw(NamedTuple):
    """A prompt of a step. `number` counts over all ranks and rounds from 0, `repeat` how often its uid came before."""

    number: int
    repeat: int
    prompt: Prompt


@dataclass
class _Harvest:
    """What is known so far in a step: everybody's summaries, and this rank's own groups by draw."""

    summaries: list[GroupSummary] = field(default_factory=list)
    own: dict[int, Group] = field(default_factory=dict)
    examples: list[Group] = field(default_factory=list)
    repeats: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    put_back: int = 0  # prompts after the last kept one, which the mixture will give again

    @property
    def drawn(self) -> int:
        return len(self.summaries)

    @property
    def used(self) -> list[GroupSummary]:
        """Without those whose prompts were put back: they are the same whatever the number of ranks."""
        return self.summaries[: self.drawn - self.put_back]

    @property
    def teaching(self) -> list[GroupSummary]:
        return [summary for summary in self.summaries if summary.teaches]


class Collector:
    """Collects the groups of a step.

    Every rank draws the same prompts and samples its part of them; verdicts are computed while generation goes on. Then
    ranks tell each other what teaches, and all of them see the same: the first `prompts_per_step` teaching groups in
    the order of drawing are kept, whatever the number of ranks. Prompts drawn after the last kept one are put back for
    the next step, so that neither the number of ranks nor `oversample` changes which prompts a run trains on.
    """

    def __init__(
        self,
        *,
        engine: RolloutEngine,
        pool: VerdictPool,
        mixture: PromptSource,
        world: World,
        budget: SamplingBudgetConfig,
        run_seed: int,
        cost: TrainingCost = BY_TOKENS,
        stop_reason: StopReason = never,
    ) -> None:
        self._engine, self._pool, self._mixture, self._world = engine, pool, mixture, world
        self._budget, self._run_seed, self._cost, self._stop_reason = budget, run_seed, cost, stop_reason

    def collect(self, stage: Stage, step: int) -> Collected:
        """This rank's share of the groups to train on in `step`.

        Raises:
            ConfigError: an update's groups can't be shared out evenly over data-parallel ranks.
            RolloutError: too few groups teach within `max_rounds`; or the engine, on any rank, misbehaves.
            Stopped: some rank was asked to stop, and what was sampled is given up; on every rank.
            VerifierError: verifiers of a domain, on any rank, fail too often.
        """
        self._check_shares(stage)
        harvest = _Harvest()
        if self._budget.drop_equal_groups:
            kept = self._until_enough_teach(stage, step, harvest)
        else:
            self._round(stage, step, harvest, stage.prompts_per_step)
            kept = harvest.summaries
        self._mixture.observe((summary.uid, summary.judged_rewards) for summary in harvest.used)
        exhausted = len(kept) < stage.prompts_per_step
        if exhausted and self._budget.on_exhausted == "error":
            raise RolloutError(self._exhausted_message(stage, step, harvest) + ADVICE)
        updates = len(kept) // stage.prompts_per_update  # what was paid for is used, as far as it fills an update
        if exhausted:
            text = self._exhausted_message(stage, step, harvest)
            log.warning(
                "%d of %d updates are left out: %s", stage.updates_per_step - updates, stage.updates_per_step, text
            )
        kept = kept[: updates * stage.prompts_per_update]
        metrics = {
            **sampling_metrics(harvest.summaries, kept, harvest.rounds),
            "rollout/exhausted": float(exhausted),
            "rollout/updates": float(updates),
            "rollout/no_group_taught": float(not harvest.teaching),
            **merged_pool_metrics(self._world.gather(self._pool.drain_metrics())),
        }
        wanted = self._share(stage, kept)
        return Collected(self._world.share_out(harvest.own, wanted), updates, metrics, harvest.examples)

    # -- rounds ------------------------------------------------------------------------------------------------------

    def _until_enough_teach(self, stage: Stage, step: int, harvest: _Harvest) -> list[GroupSummary]:
        """Rounds until `prompts_per_step` groups teach or `max_rounds` are over; the kept groups in draw order."""
        wanted = stage.prompts_per_step
        while len(harvest.teaching) < wanted and harvest.rounds < self._budget.max_rounds:
            self._round(stage, step, harvest, self._round_size(stage, harvest))
            log.info(
                "step %d, round %d: %d of %d groups teach so far, of %d prompts",
                *(step + 1, harvest.rounds, len(harvest.teaching), wanted, harvest.drawn),
            )
            if len(harvest.teaching) >= wanted:
                harvest.put_back = harvest.drawn - harvest.teaching[wanted - 1].draw - 1
                if harvest.put_back:
                    self._mixture.put_back(harvest.put_back)
        return harvest.teaching[:wanted]

    def _round_size(self, stage: Stage, harvest: _Harvest) -> int:
        """Prompts to draw: enough for the missing groups at the rate that this step has seen, some for every rank."""
        missing = stage.prompts_per_step - len(harvest.teaching)
        most = stage.prompts_per_step
        if harvest.drawn:
            expected = missing * harvest.drawn / max(len(harvest.teaching), 1)
            missing = min(math.ceil(expected), most)
        prompts = math.ceil(missing * self._budget.oversample)
        return math.ceil(prompts / self._world.size) * self._world.size

    def _round(self, stage: Stage, step: int, harvest: _Harvest, prompts: int) -> None:
        """Draw, sample, judge, and tell each other. A rank that fails says so first, so that no other waits for it."""
        own: dict[int, Group] = {}
        failure: Exception | None = None
        try:
            own = self._sample(self._draw(stage, harvest, prompts), stage, step)
            self._pool.check_health()
        except Exception as error:
            failure = error
        summaries = [GroupSummary.of(*item) for item in own.items()]
        parts = gather_or_raise(self._world, summaries, failure, "sampling")
        harvest.summaries += sorted((summary for part in parts for summary in part), key=lambda summary: summary.draw)
        if harvest.rounds == 0:
            harvest.examples += own.values()
        keep_all = not self._budget.drop_equal_groups
        harvest.own.update({number: group for number, group in own.items() if keep_all or group.teaches})
        harvest.rounds += 1

    def _draw(self, stage: Stage, harvest: _Harvest, prompts: int) -> list[Draw]:
        draws: list[Draw] = []
        for prompt in self._mixture.draw(prompts, stage.blend, avoid=set(harvest.repeats)):
            draws.append(Draw(harvest.drawn + len(draws), harvest.repeats[prompt.uid], prompt))
            harvest.repeats[prompt.uid] += 1
        return draws

    # -- sampling ----------------------------------------------------------------------------------------------------

    def _sample(self, draws: Sequence[Draw], stage: Stage, step: int) -> dict[int, Group]:
        """This rank's part of `draws` as judged groups, by draw number.

        The mixture repeats a problem within a step only when it has no others. It is then sampled from another seed, so
        that its second group isn't a copy of the first.
        """
        own = [draw for draw in draws if draw.number % self._world.size == self._world.rank]
        groups: dict[int, Group] = {}
        for repeat in sorted({draw.repeat for draw in own}):
            purpose = f"train, repeat {repeat}" if repeat else "train"
            sampling = replace(stage.sampling, seed=step_seed(self._run_seed, step, purpose))
            groups.update(self._sample_once([draw for draw in own if draw.repeat == repeat], sampling))
        return dict(sorted(groups.items()))

    def _sample_once(self, draws: Sequence[Draw], sampling: SamplingParams) -> dict[int, Group]:
        answers: list[dict[int, tuple[Completion, Future[Verdict]]]] = [{} for _ in draws]
        sampled = self._engine.generate([draw.prompt for draw in draws], sampling)
        for index, sample, completion in until_asked(sampled, self._stop_reason):
            answers[index][sample] = completion, self._pool.submit(draws[index].prompt, completion.text)
        groups = {}
        for draw, by_sample in zip(draws, answers, strict=True):
            if set(by_sample) != set(range(sampling.samples_per_prompt)):
                raise RolloutError(
                    f"the rollout engine gave samples {sorted(by_sample)} of prompt {draw.prompt.uid!r}, expected "
                    f"each of 0 to {sampling.samples_per_prompt - 1}; this is a bug in {type(self._engine).__name__}"
                )
            completions, verdicts = zip(*(by_sample[sample] for sample in sorted(by_sample)), strict=True)
            groups[draw.number] = Group(draw.prompt, completions, tuple(verdict.result() for verdict in verdicts))
        return groups

    # -- shares ------------------------------------------------------------------------------------------------------

    def _check_shares(self, stage: Stage) -> None:
        if stage.prompts_per_update % self._world.data_size:
            raise ConfigError(
                f"stage {stage.name!r}: prompts_per_update={stage.prompts_per_update} can't be divided evenly over "
                f"{self._world.data_size} data-parallel ranks; make it (and prompts_per_step) a multiple of them"
            )

    def _share(self, stage: Stage, kept: Sequence[GroupSummary]) -> list[int]:
        """The draws that this data rank trains on: of every update equally many groups, about equally costly."""
        draws = []
        for start in range(0, len(kept), stage.prompts_per_update):
            update = kept[start : start + stage.prompts_per_update]
            costs = [self._cost.of_group(summary.prompt_tokens, summary.response_tokens) for summary in update]
            mine = balanced_parts(costs, self._world.data_size)[self._world.data_rank]
            draws += [update[number].draw for number in mine]
        return draws

    def _exhausted_message(self, stage: Stage, step: int, harvest: _Harvest) -> str:
        return (
            f"step {step + 1}, stage {stage.name!r}: only {len(harvest.teaching)} of {stage.prompts_per_step} groups "
            f"teach after {harvest.rounds} rounds of sampling and {harvest.drawn} prompts; in the others all rewards "
            f"are equal.\n{why_too_few_teach(harvest.summaries)}"
        )
