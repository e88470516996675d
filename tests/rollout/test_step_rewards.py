"""Shaped rewards and advantages of a step: its own, however it is shared out over ranks."""

from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch

from nemo_prorl.algorithm.advantage import ADVANTAGES, group_relative
from nemo_prorl.algorithm.shaping import cosine_length, soft_overlong, termination_penalty
from nemo_prorl.data.trajectory import Completion, Group, Verdict
from nemo_prorl.plugins import resolve
from nemo_prorl.rollout.step_rewards import StepRewards, shape_group
from nemo_prorl.world import LocalWorld, TorchWorld
from tests.processes import run_ranks
from tests.rollout.stand_ins import prompt, stage

# A step has a context of 64 tokens and room for 32: a response of 32 tokens is at its limit.
SHAPINGS = {"cut": partial(termination_penalty, penalty=0.3), "long": partial(soft_overlong, buffer_tokens=7)}


def group(uid: str, rewards: list[float], lengths: list[int], domain: str = "math") -> Group:
    completions = [
        Completion(np.zeros(length, np.int32), None, "length" if length == 32 else "stop", "") for length in lengths
    ]
    return Group(prompt(uid, domain), tuple(completions), tuple(Verdict(reward) for reward in rewards))


def step_of_groups(count: int = 12) -> list[Group]:
    generator = np.random.default_rng(0)
    return [
        group(
            str(number),
            generator.random(4).tolist(),
            generator.integers(20, 33, 4).tolist(),
            ("math", "code", "logic")[number % 3],
        )
        for number in range(count)
    ]


def test_what_a_shaping_did_is_told_by_name_and_domain():
    """cut: 1 of 4, -.5. Lengths 29 and 32 reach 1/4 and 1 into a buffer of 4: -.25 - 1."""
    wanted = stage(shapings={"cut": termination_penalty, "long": partial(soft_overlong, buffer_tokens=4)})
    groups = [group("a", [1.0, 0.0], [10, 29]), group("b", [1.0, 0.0], [11, 32], "code")]
    shaped = StepRewards(LocalWorld(), group_relative).shaped(groups, wanted, 0)
    assert [g.shaped_rewards for g in shaped.groups] == [(1.0, -0.25), (1.0, -1.5)]
    assert [g.rewards for g in shaped.groups] == [(1.0, 0.0), (1.0, 0.0)]
    assert shaped.metrics == {
        "reward/shaped_mean": 0.0625,
        "shaping/cut/change_mean": -0.125,
        "shaping/cut/changed_fraction": 0.25,
        "shaping/cut/code/change_mean": -0.25,
        "shaping/cut/code/changed_fraction": 0.5,
        "shaping/cut/math/change_mean": 0.0,
        "shaping/cut/math/changed_fraction": 0.0,
        "shaping/long/change_mean": -0.3125,
        "shaping/long/changed_fraction": 0.5,
        "shaping/long/code/change_mean": -0.5,
        "shaping/long/code/changed_fraction": 0.5,
        "shaping/long/math/change_mean": -0.125,
        "shaping/long/math/changed_fraction": 0.5,
    }


def test_a_penalty_makes_no_group_teach_in_which_every_answer_is_wrong():
    all_wrong, _ = shape_group(group("a", [0.0, 0.0], [10, 32]), stage(shapings=SHAPINGS), 0)
    assert all_wrong.shaped_rewards[1] < all_wrong.shaped_rewards[0]
    assert not all_wrong.teaches


def test_without_shapings_nothing_is_changed_and_nothing_told():
    groups = step_of_groups(2)
    shaped = StepRewards(LocalWorld(), group_relative).shaped(groups, stage(), 0)
    assert (shaped.groups, shaped.metrics) == (groups, {})


def test_a_schedule_is_counted_in_steps_of_the_run():
    wanted = stage(shapings={"cosine": partial(cosine_length, on_steps=1, off_steps=2)})
    rewards = [shape_group(group("a", [1.0, 0.0], [8, 8]), wanted, step)[0].shaped_rewards for step in range(4)]
    assert rewards[1] == rewards[2] == (1.0, 0.0)
    assert rewards[0] == rewards[3] != (1.0, 0.0)


def advantages_of_ranks(name: str, cuts: list[int], model_ranks: int) -> tuple[Any, Any]:
    """A rank's advantages and shaping metrics; `model_ranks` ranks share each part of the step, as tensor ranks do."""
    import torch.distributed as dist

    dist.init_process_group("gloo")
    data_rank = dist.get_rank() // model_ranks
    world = TorchWorld(data_rank=data_rank, data_size=len(cuts) - 1)
    rewards = StepRewards(world, resolve(name, ADVANTAGES, "loss.advantage"))
    own = step_of_groups()[cuts[data_rank] : cuts[data_rank + 1]]
    shaped = rewards.shaped(own, stage(shapings=SHAPINGS), 0)
    taken = rewards.advantages(torch.tensor([g.shaped_rewards for g in shaped.groups]))
    dist.barrier()
    dist.destroy_process_group()
    return taken, shaped.metrics


@pytest.mark.processes
@pytest.mark.parametrize("name", ADVANTAGES)
@pytest.mark.parametrize(("cuts", "model_ranks"), [([0, 6, 12], 1), ([0, 2, 12], 1), ([0, 6, 12], 2)])
def test_a_step_cut_over_ranks_has_the_advantages_of_the_whole_bit_for_bit(name, cuts, model_ranks):
    alone = StepRewards(LocalWorld(), resolve(name, ADVANTAGES, "loss.advantage"))
    whole = alone.shaped(step_of_groups(), stage(shapings=SHAPINGS), 0)
    wanted = alone.advantages(torch.tensor([g.shaped_rewards for g in whole.groups]))
    parts = run_ranks(advantages_of_ranks, (len(cuts) - 1) * model_ranks, name, cuts, model_ranks)
    for rank, (found, metrics) in enumerate(parts):
        start, end = list(pairwise(cuts))[rank // model_ranks]
        assert torch.equal(found, wanted[start:end])
        assert metrics == whole.metrics
