"""Sampling and judging until enough groups teach: dynamic sampling with exact refill, over any number of ranks."""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from nemo_prorl.config.sampling_budget import SamplingBudgetConfig
from nemo_prorl.control import StopReason, never
from nemo_prorl.data.balance import BY_TOKENS, TrainingCost, balanced_parts
from nemo_prorl.data.blend import Blend
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.trajectory import Group
from nemo_prorl.errors import ConfigError, RolloutError
from nemo_prorl.recipe import Stage
from nemo_prorl.rollout.board import Board
from nemo_prorl.rollout.engine import RolloutEngine
from nemo_prorl.rollout.sampling import Draw, Sampler, Unused, VerdictPool
from nemo_prorl.rollout.summary import (
    GroupSummary,
    sampling_metrics,
    slowest_times,
    verdict_metrics,
    why_too_few_teach,
)
from nemo_prorl.rollout.surplus import Surplus, Taken
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


@dataclass
class _Harvest:
    """What is known so far in a step: everybody's summaries, and this rank's own groups by draw.

    `waited` are those of groups of an earlier step; their draws have negative numbers.
    """

    waited: list[GroupSummary] = field(default_factory=list)
    summaries: list[GroupSummary] = field(default_factory=list)
    own: dict[int, Group] = field(default_factory=dict)
    examples: list[Group] = field(default_factory=list)
    repeats: Counter[str] = field(default_factory=Counter)
    rounds: int = 0
    unused: Unused = field(default_factory=Unused)

    @property
    def drawn(self) -> int:
        return len(self.summaries)

    @property
    def teaching(self) -> list[GroupSummary]:
        return self.waited + [summary for summary in self.summaries if summary.teaches]


class Collector:
    """Collects the groups of a step.

    Every rank draws the same prompts and samples its part of them; verdicts are computed while generation goes on. All
    ranks see the same: the first `prompts_per_step` teaching groups in the order of drawing are kept, whatever the
    number of ranks. What comes after the last of them is given up as soon as that is known, and its prompts are put
    back for the next step: neither the number of ranks nor `oversample` changes which prompts a run trains on. Or, with
    `surplus=carry`, it is finished, and groups that teach are the next step's first.
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
        self._sampler, self._pool = Sampler(engine, pool, run_seed, stop_reason), pool
        self._mixture, self._world, self._budget, self._cost = mixture, world, budget, cost
        self._carries = budget.surplus == "carry"
        self._surplus = Surplus(budget.max_steps_waited)

    def collect(self, stage: Stage, step: int) -> Collected:
        """This rank's share of the groups to train on in `step`.

        Raises:
            ConfigError: an update's groups can't be shared out evenly over data-parallel ranks.
            RolloutError: too few groups teach within `max_rounds`; or the engine, on any rank, misbehaves.
            Stopped: some rank was asked to stop, and what was sampled is given up; on every rank.
            VerifierError: verifiers of a domain, on any rank, fail too often.
        """
        self._check_shares(stage)
        taken = self._surplus.take(stage.sampling) if self._carries else Taken([], 0)
        harvest = self._with_waiting(taken.groups)
        if self._budget.drop_equal_groups:
            kept = self._until_enough_teach(stage, step, harvest)
        else:
            self._round(stage, step, harvest, stage.prompts_per_step)
            kept = harvest.summaries
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
            **self._metrics(harvest, kept, taken),
            "rollout/exhausted": float(exhausted),
            "rollout/updates": float(updates),
            "rollout/no_group_taught": float(not harvest.teaching),
        }
        groups = self._world.share_out(harvest.own, self._share(stage, kept))
        self._mixture.observe((summary.uid, summary.judged_rewards) for summary in harvest.summaries)
        if self._carries:
            left = [summary.draw for summary in harvest.teaching[len(kept) :]]
            self._surplus.keep(self._world.share_out(harvest.own, left), stage.sampling)
        return Collected(groups, updates, metrics, harvest.examples)

    # -- what waits for the next step --------------------------------------------------------------------------------

    def forget_surplus(self) -> None:
        """To be called when the policy becomes another one than a few updates make it."""
        self._surplus.forget()

    def state_dict(self) -> dict[str, Any]:
        """JSON types only: the groups that wait, the same on every rank."""
        return self._surplus.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._surplus.load_state_dict(state)
        if not self._carries:
            self._surplus.forget()

    def _with_waiting(self, groups: Sequence[Group]) -> _Harvest:
        """A harvest that begins with these. Every rank has them, and one of them is to give each to the others."""
        numbered = {number - len(groups): group for number, group in enumerate(groups)}
        return _Harvest(
            waited=[GroupSummary.of(*item) for item in numbered.items()],
            own={number: group for number, group in numbered.items() if number % self._world.size == self._world.rank},
            repeats=Counter(group.prompt.uid for group in groups),
        )

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
        return harvest.teaching[:wanted]

    def _round_size(self, stage: Stage, harvest: _Harvest) -> int:
        """Prompts to draw: enough for the missing groups at the rate that this step has seen, some for every rank."""
        missing = stage.prompts_per_step - len(harvest.teaching)
        most = stage.prompts_per_step
        if harvest.drawn:
            expected = missing * harvest.drawn / max(len(harvest.teaching) - len(harvest.waited), 1)
            missing = min(math.ceil(expected), most)
        prompts = math.ceil(missing * self._budget.oversample)
        return math.ceil(prompts / self._world.size) * self._world.size

    def _round(self, stage: Stage, step: int, harvest: _Harvest, prompts: int) -> None:
        """Draw, sample, judge, and tell each other. A rank that fails says so first, so that no other waits for it."""
        may_end_early = self._budget.drop_equal_groups and not self._carries
        missing = stage.prompts_per_step - len(harvest.teaching) if may_end_early else None
        board = Board(self._world, prompts, missing)
        own: dict[int, Group] = {}
        failure: Exception | None = None
        try:
            own, unused = self._sample(stage, step, harvest, prompts, board)
            harvest.unused += unused
            self._pool.check_health()
        except Exception as error:
            failure = error
        summaries = [GroupSummary.of(*item) for item in own.items()]
        parts = gather_or_raise(self._world, summaries, failure, "sampling")
        harvest.summaries += sorted((summary for part in parts for summary in part), key=lambda summary: summary.draw)
        if board.needed < prompts:
            self._mixture.put_back(prompts - board.needed)
        if harvest.rounds == 0:
            harvest.examples += own.values()
        keep_all = not self._budget.drop_equal_groups
        harvest.own.update({number: group for number, group in own.items() if keep_all or group.teaches})
        harvest.rounds += 1

    def _sample(
        self, stage: Stage, step: int, harvest: _Harvest, prompts: int, board: Board
    ) -> tuple[dict[int, Group], Unused]:
        """This rank's part of a round, by draw number."""
        began = harvest.drawn
        try:
            draws = self._draw(stage, harvest, prompts)
        except Exception:
            board.finish(gives_up=True)
            raise
        own = {place: draw for place, draw in enumerate(draws) if draw.number % self._world.size == self._world.rank}
        groups, unused = self._sampler.sample(own, stage.sampling, step, board)
        waited = 0 if self._carries else None
        return {began + place: replace(groups[place], steps_waited=waited) for place in sorted(groups)}, unused

    def _draw(self, stage: Stage, harvest: _Harvest, prompts: int) -> list[Draw]:
        draws: list[Draw] = []
        for prompt in self._mixture.draw(prompts, stage.blend, avoid=set(harvest.repeats)):
            draws.append(Draw(harvest.drawn + len(draws), harvest.repeats[prompt.uid], prompt))
            harvest.repeats[prompt.uid] += 1
        return draws

    # -- what is told, and shares ------------------------------------------------------------------------------------

    def _metrics(self, harvest: _Harvest, kept: Sequence[GroupSummary], taken: Taken) -> dict[str, float]:
        """The same on every rank, and, but for times, whatever was going on when enough was known to teach."""
        told = self._world.gather((self._pool.drain_metrics(), harvest.unused))
        unused = sum((unused for _, unused in told), Unused())
        metrics = {
            **(sampling_metrics(harvest.summaries, kept, harvest.rounds) if harvest.summaries else {}),
            **verdict_metrics(harvest.summaries),
            **slowest_times(times for times, _ in told),
            "rollout/surplus_groups": float(len(harvest.teaching[len(kept) :])),
            "time/unused_completions": float(unused.completions),
            "time/unused_tokens": float(unused.tokens),
            "time/aborted_completions": float(unused.aborted),
        }
        if self._carries:
            carried = [group.steps_waited or 0 for group in taken.groups[: len(kept)]]
            metrics["rollout/carried_groups"] = float(len(carried))
            metrics["rollout/steps_waited_mean"] = sum(carried) / len(kept) if kept else 0.0
            metrics["rollout/dropped_groups"] = float(taken.dropped)
        return metrics

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
