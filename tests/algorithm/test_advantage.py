import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.advantage import ADVANTAGES, group_mean, group_mean_global_std, group_relative
from nemo_prorl.errors import ShapeError
from nemo_prorl.plugins import resolve


def right_and_wrong(right, samples):
    return torch.tensor([[1.0] * right + [0.0] * (samples - right)])


def test_four_rewards_by_hand():
    """Rewards 1, 0, 0, 1: mean 1/2, squares 4 * 1/4 = 1, over n - 1 = 3: std 0.57735; 0.5 / 0.57735 = 0.86603."""
    advantages = group_relative(torch.tensor([[1.0, 0.0, 0.0, 1.0]]))
    assert_close(advantages, torch.tensor([[0.86602, -0.86602, -0.86602, 0.86602]]), atol=1e-5, rtol=0)


def test_five_right_of_sixteen():
    """mean 5/16; squares 5 (11/16)^2 + 11 (5/16)^2 = 3.4375, over 15: std 0.47871.

    0.6875 / 0.47871 = 1.4361 and -0.3125 / 0.47871 = -0.6528.
    """
    advantages = group_relative(right_and_wrong(5, 16))
    assert_close(advantages[0, 0].item(), 1.4361, atol=5e-5, rtol=0)
    assert_close(advantages[0, -1].item(), -0.6528, atol=5e-5, rtol=0)


@pytest.mark.parametrize(
    ("right", "of_right", "of_wrong"),
    [(1, 3.7500, -0.2500), (8, 0.9682, -0.9682), (15, 0.2500, -3.7500)],
)
def test_the_rarer_outcome_gets_the_larger_advantage(right, of_right, of_wrong):
    """1 of 16: mean 1/16, squares (15/16)^2 + 15/256 = 0.9375, over 15: std 1/4; (15/16) / (1/4) = 3.75.

    8 of 16: squares 16/4 = 4, over 15: std 0.5164; 0.5 / 0.5164 = 0.9682.
    """
    advantages = group_relative(right_and_wrong(right, 16))
    assert_close(advantages[0, 0].item(), of_right, atol=5e-5, rtol=0)
    assert_close(advantages[0, -1].item(), of_wrong, atol=5e-5, rtol=0)


@pytest.mark.parametrize("samples", [2, 3, 6, 8, 10, 12, 16, 20, 24, 28, 32])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_equal_rewards_teach_exactly_nothing(samples, dtype):
    """A mean of n equal floats is not always that float; still all of i/60 give 0, not a rounding error over itself."""
    rewards = (torch.arange(61, dtype=dtype) / 60).unsqueeze(1).expand(-1, samples)
    assert group_relative(rewards).eq(0).all()


@pytest.mark.parametrize("right", [1, 15])
def test_a_group_with_one_odd_answer_is_kept_whole(right):
    """No sample of it has advantage 0: the most telling groups teach with all they have."""
    assert group_relative(right_and_wrong(right, 16)).ne(0).all()


def test_groups_do_not_see_each_other():
    alone = group_relative(torch.tensor([[1.0, 0.0, 0.5]]))
    beside = group_relative(torch.tensor([[0.2, 0.9, 0.1], [1.0, 0.0, 0.5], [1.0, 0.0, 0.5]]))
    assert torch.equal(beside[1:2], alone)
    assert torch.equal(beside[2:3], alone)


def test_an_advantage_does_not_change_with_the_scale_or_the_zero_of_rewards():
    rewards = torch.rand(5, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert_close(group_relative(3 * rewards - 7), group_relative(rewards), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("shape", [(3, 1), (4,), (2, 3, 4)])
def test_a_response_without_company_is_refused(shape):
    with pytest.raises(ShapeError, match="at least 2 samples"):
        group_relative(torch.zeros(shape))


def test_without_a_standard_deviation_only_the_mean_is_taken_off():
    """1 0 0 0 - 1/4; .5 .5 1 0 - 1/2."""
    found = group_mean(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.5, 0.5, 1.0, 0.0]]))
    assert_close(found, torch.tensor([[0.75, -0.25, -0.25, -0.25], [0.0, 0.0, 0.5, -0.5]]))


def test_the_step_s_own_spread_divides_what_is_measured_from_group_means():
    """From group means: .5 -.5 and .25 -.25. Squares .25 .25 .0625 .0625 sum to .625, over 4 - 1: std = .456435."""
    found = group_mean_global_std(torch.tensor([[1.0, 0.0], [0.5, 0.0]]))
    assert_close(found, torch.tensor([[1.095445, -1.095445], [0.547723, -0.547723]]), atol=1e-4, rtol=0)


def test_the_order_of_the_groups_changes_no_bit_of_the_global_spread():
    rewards = torch.rand(40, 8, generator=torch.Generator().manual_seed(1))
    order = torch.randperm(40, generator=torch.Generator().manual_seed(2))
    assert torch.equal(group_mean_global_std(rewards[order]), group_mean_global_std(rewards)[order])


@pytest.mark.parametrize("name", ADVANTAGES)
@pytest.mark.parametrize("samples", [2, 6, 10, 16])
def test_equal_rewards_teach_exactly_nothing_by_any_estimator(name, samples):
    rewards = (torch.arange(61) / 60).unsqueeze(1).expand(-1, samples)
    assert resolve(name, ADVANTAGES, "loss.advantage")(rewards).eq(0).all()
