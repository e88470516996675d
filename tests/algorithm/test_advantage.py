import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.advantage import group_relative
from nemo_prorl.errors import ShapeError


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
