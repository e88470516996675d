"""From verdicts to advantages, over all ranks: rewards are shaped, and told as metrics, and each is compared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from nemo_prorl.algorithm.advantage import Advantage
from nemo_prorl.algorithm.shaping import Responses, check_shaped
from nemo_prorl.data.trajectory import Group
from nemo_prorl.recipe import Stage
from nemo_prorl.world import World, gather_over_data


@dataclass(frozen=True)
class Change:
    """What one shaping did to the reward of one response."""

    shaping: str
    domain: str
    amount: float


@dataclass(frozen=True)
class Shaped:
    """Groups with their shaped rewards, and what of it is logged, the same on every rank."""

    groups: list[Group]
    metrics: dict[str, float]


class StepRewards:
    """Shapes a step's rewards and takes its advantages. Every method is collective.

    What a rank gets depends on the whole step and not on how the step is shared out over ranks, bit for bit.
    """

    def __init__(self, world: World, advantage: Advantage) -> None:
        self._world, self._advantage = world, advantage

    def shaped(self, groups: Sequence[Group], stage: Stage, step: int) -> Shaped:
        """This rank's groups as the stage's shapings leave them; none: as they are. `step`: those taken before.

        Raises:
            ShapeError: a shaping gave something other than one finite reward a response.
        """
        if not stage.shapings:
            return Shaped(list(groups), {})
        results = [shape_group(group, stage, step) for group in groups]
        parts = gather_over_data(self._world, [(shaped.shaped_rewards, changes) for shaped, changes in results])
        rewards = [reward for part in parts for shaped, _ in part for reward in shaped]
        everywhere = [change for part in parts for _, changes in part for change in changes]
        metrics = {"reward/shaped_mean": math.fsum(rewards) / len(rewards), **shaping_metrics(everywhere)}
        return Shaped([group for group, _ in results], metrics)

    def advantages(self, rewards_GN: Tensor) -> Tensor:
        """[G, N] of this rank's groups, out of the advantages of all groups of the step."""
        parts = gather_over_data(self._world, rewards_GN)
        before = sum(len(part) for part in parts[: self._world.data_rank])
        return self._advantage(torch.cat(parts))[before : before + len(rewards_GN)]


def shape_group(group: Group, stage: Stage, step: int) -> tuple[Group, list[Change]]:
    """The group after the stage's shapings, and what each of them did to each response."""
    room = stage.sampling.response_room(len(group.prompt.token_ids))
    responses = Responses(
        torch.tensor(group.lengths),
        torch.full((len(group.lengths),), room),
        torch.tensor([reason == "length" for reason in group.finish_reasons]),
        step,
    )
    rewards_B = torch.tensor(group.rewards, dtype=torch.float64)
    changes: list[Change] = []
    for name, shaping in stage.shapings.items():
        shaped_B = check_shaped(name, shaping(rewards_B, responses), rewards_B)
        changes += [Change(name, group.prompt.domain, amount) for amount in (shaped_B - rewards_B).tolist()]
        rewards_B = shaped_B
    return replace(group, shaped_rewards=tuple(rewards_B.tolist())), changes


def shaping_metrics(changes: Sequence[Change]) -> dict[str, float]:
    """Of each shaping, over all responses and those of each domain: mean change of the reward, and how many changed."""
    amounts: dict[str, list[float]] = {}
    for change in changes:
        for place in (change.shaping, f"{change.shaping}/{change.domain}"):
            amounts.setdefault(place, []).append(change.amount)
    values = {}
    for place, found in sorted(amounts.items()):
        values[f"shaping/{place}/change_mean"] = math.fsum(found) / len(found)
        values[f"shaping/{place}/changed_fraction"] = sum(amount != 0 for amount in found) / len(found)
    return values
