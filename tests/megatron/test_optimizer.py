"""Updates: what AdamW does, what a reset forgets, what a bad gradient must not touch."""

import math

import pytest
import torch
from torch.testing import assert_close

from tests.megatron import optimizer_scenarios, scenarios
from tests.processes import run_ranks
from tests.tiny_models import tiny_hf_folder

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_hf_folder(tmp_path_factory.mktemp("model"), "qwen2", tied=True)


LAYOUTS = [
    (1, {}),
    (1, {"precision": "bf16"}),
    (1, {"precision": "bf16", "distributed_optimizer": True}),
    (2, {"distributed_optimizer": True}),
    (2, {"pipeline_parallel_size": 2, "precision": "bf16"}),
]


@pytest.mark.parametrize(("count", "settings"), LAYOUTS)
def test_resets_are_exact(folder, count, settings):
    """A reset optimizer is a fresh one; a refreshed snapshot is the policy; in between a snapshot stays what it was."""
    for rank in run_ranks(optimizer_scenarios.reset_and_snapshot, count, folder, settings):
        assert torch.equal(rank["reference, fresh"], rank["reference, moved"])
        assert all(torch.equal(tensor, rank["source"][name]) for name, tensor in rank["frozen"].items())
        assert not torch.equal(rank["policy"], rank["reference, moved"])
        assert torch.equal(rank["policy"], rank["reference, reset"])

        (told_reset, weights_reset), (told_fresh, weights_fresh) = rank["after reset"], rank["after fresh"]
        assert told_reset == told_fresh
        assert all(torch.equal(tensor, weights_fresh[name]) for name, tensor in weights_reset.items())
        assert rank["updates"] == 4


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(("count", "settings"), [(1, {}), (2, {"tensor_parallel_size": 2, "precision": "bf16"})])
def test_a_gradient_that_is_not_a_number_touches_nothing(folder, count, settings, value):
    """Every rank refuses when one has it, and training can go on."""
    for rank in run_ranks(optimizer_scenarios.spoiled, count, folder, settings, value):
        assert "the gradient of update 1 is not a finite number" in rank["error"]
        assert rank["unchanged"]
        assert math.isfinite(rank["then"])


def test_an_update_that_one_rank_objects_to_is_refused_by_all_and_its_gradient_is_not_blamed(folder):
    first, last = run_ranks(optimizer_scenarios.objected_to, 2, folder, {})
    assert first == {"error": "update 1 is refused: another rank objects to it", "unchanged": True}
    assert last == {"error": "update 1 is refused: policy/ratio_max is inf", "unchanged": True}


@pytest.mark.parametrize("distributed_optimizer", [False, True])
def test_bf16_trains(folder, distributed_optimizer):
    """With a step far below bf16's resolution the weights still move, thanks to fp32 masters."""
    settings = {"precision": "bf16", "distributed_optimizer": distributed_optimizer}
    found = run_ranks(scenarios.losses, 1, folder, settings, 40)[0]
    assert found[-1] < found[0] - 0.5


def test_an_update_is_that_of_torch_adamw(folder):
    """Two updates, clipped, with warm-up and decay, beside torch.optim.AdamW fed the same gradients."""
    rank = run_ranks(optimizer_scenarios.beside_torch, 1, folder)[0]
    for name, tensor in rank["ours"].items():
        assert_close(tensor, rank["torch"][name], atol=1e-7, rtol=1e-6, msg=name)
    assert rank["clipped"]


def test_the_learning_rate_rises_then_falls(folder):
    """lr 1, 2 warm-up updates, 6 in all, down to a half: 0.5, 1, then 1, 7/8, 6/8, 5/8, and 1/2 for ever."""
    rank = run_ranks(optimizer_scenarios.learning_rates, 1, folder)[0]
    assert rank == pytest.approx([0.5, 1.0, 1.0, 0.875, 0.75, 0.625, 0.5, 0.5])


@pytest.mark.parametrize("settings", [{}, {"precision": "bf16"}, {"distributed_optimizer": True}])
def test_after_a_reset_any_adam_has_moments(folder, settings):
    """A checkpoint that is taken then holds them, also where Transformer Engine's stands in for torch's."""
    for part in run_ranks(optimizer_scenarios.moments_of_another_adam, 1, folder, settings)[0]:
        assert part
        assert all(found == (["exp_avg", "exp_avg_sq"], True) for found in part)


def test_memory_given_back_between_phases_changes_nothing(folder):
    """Gradient buffers freed after each update; optimizer state and the reference through their paths to the host."""
    told = run_ranks(optimizer_scenarios.with_memory_given_back, 1, folder)[0]
    assert told["freed_bytes"] > 0 and told["bytes_while_released"] == 0
    assert told["released"] == told["resident"]
    assert told["reference_unchanged"] and told["written_is_kept"]
