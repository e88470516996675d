from functools import partial

import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.objective import OBJECTIVES, ClipBounds, clip_bounds, clip_higher, grpo
from nemo_prorl.errors import ConfigError
from nemo_prorl.plugins import configured


def losses_and_gradients(objective, ratios, advantages):
    """Loss of each token and its derivative by the token's own logprob; the old policy's logprobs are 0."""
    logp = torch.tensor([ratios]).log().requires_grad_()
    loss = objective(logp, torch.zeros_like(logp), torch.tensor([advantages]))
    (gradient,) = torch.autograd.grad(loss.sum(), logp)
    return loss.detach()[0].tolist(), gradient[0].tolist()


def test_only_the_bound_on_the_favoured_side_bites():
    """A = 1: ratio 1.5 is cut to 1.4, 0.5 and 1.3 are kept. A = -1: 0.5 is cut to 0.8, 1.5 and 0.9 are kept.

    d(-r A)/d logp = -r A where the ratio is kept, and 0 where it is cut.
    """
    loss, gradient = losses_and_gradients(
        partial(clip_higher, clip_low=0.2, clip_high=0.4), [1.5, 0.5, 1.3, 0.5, 1.5, 0.9], [1.0, 1, 1, -1, -1, -1]
    )
    assert_close(loss, [-1.4, -0.5, -1.3, 0.8, 1.5, 0.9])
    assert_close(gradient, [0.0, -0.5, -1.3, 0.0, 1.5, 0.9])


def test_dual_clip_bounds_the_loss_of_falling_tokens_alone():
    """c = 3, A = -2: ratio 5 costs 3 * 2 = 6, not 10; 2 still costs 4, 0.5 still 0.8 * 2 = 1.6. A = 2: as without c."""
    loss, gradient = losses_and_gradients(
        partial(clip_higher, dual_clip=3.0), [5.0, 2.0, 0.5, 5.0, 0.5], [-2.0, -2, -2, 2, 2]
    )
    assert_close(loss, [6.0, 4.0, 1.6, -2.8, -1.0])
    assert_close(gradient, [0.0, 4.0, 0.0, 0.0, -1.0])


def test_grpo_is_clip_higher_with_equal_bounds():
    """clip 0.2: ratio 1.3 with A = 1 is cut to 1.2, ratio 0.7 with A = -1 to 0.8."""
    loss, gradient = losses_and_gradients(partial(grpo, clip=0.2), [1.3, 0.7, 1.1], [1.0, -1.0, 1.0])
    assert_close(loss, [-1.2, 0.8, -1.1])
    assert_close(gradient, [0.0, 0.0, -1.1])
    symmetric = partial(clip_higher, clip_low=0.2, clip_high=0.2)
    assert losses_and_gradients(symmetric, [1.3, 0.7, 1.1], [1.0, -1.0, 1.0]) == (loss, gradient)


@pytest.mark.parametrize("objective", [clip_higher, grpo, partial(clip_higher, dual_clip=2.0)])
def test_at_ratio_one_the_gradient_is_the_policy_gradient(objective):
    """REINFORCE: the gradient of -A logp, through a real softmax. The first update of a step is just that."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 4, 7, generator=generator, dtype=torch.float64, requires_grad=True)
    chosen = torch.randint(7, (3, 4, 1), generator=generator)
    logp = logits.log_softmax(-1).gather(-1, chosen).squeeze(-1)
    advantage = torch.randn(3, 4, generator=generator, dtype=torch.float64)
    (clipped,) = torch.autograd.grad(objective(logp, logp.detach(), advantage).sum(), logits, retain_graph=True)
    (reinforce,) = torch.autograd.grad((-advantage * logp).sum(), logits)
    assert_close(clipped, reinforce)


def test_a_token_without_advantage_has_no_loss_and_no_gradient_even_at_an_infinite_ratio():
    logp = torch.tensor([[0.0, -800.0]], requires_grad=True)
    loss = clip_higher(logp, torch.tensor([[-800.0, 0.0]]), torch.zeros(1, 2), dual_clip=3.0)
    loss.sum().backward()
    assert loss.tolist() == [[0.0, 0.0]]
    assert logp.grad.tolist() == [[0.0, 0.0]]


def test_bounds_are_read_from_the_knobs():
    assert clip_bounds(clip_higher) == ClipBounds(0.8, 1.4, None)
    assert clip_bounds(partial(clip_higher, clip_high=0.28, dual_clip=10.0)) == ClipBounds(0.8, 1.28, 10.0)
    assert clip_bounds(partial(grpo, clip=0.1)) == ClipBounds(0.9, 1.1, None)


def test_an_objective_without_bounds_has_none():
    assert clip_bounds(lambda logp, old, advantage: -advantage * logp) is None


def test_knobs_come_from_the_config_by_name():
    objective = configured({"name": "clip_higher", "clip_low": 0.1, "clip_high": "0.3"}, OBJECTIVES, "loss.objective")
    assert clip_bounds(objective) == ClipBounds(0.9, 1.3, None)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ({"name": "clip_higher", "clip_low": -0.1}, "loss.objective.clip_low: .* greater than 0"),
        ({"name": "clip_higher", "clip_low": 1.5}, "loss.objective.clip_low: .* less than or equal to 1"),
        ({"name": "clip_higher", "dual_clip": 0.5}, "loss.objective.dual_clip: .* greater than 1"),
        ({"name": "clip_higher", "clip_hihg": 0.4}, "clip_hihg is not a knob .* Did you mean 'clip_high'"),
        ({"name": "grpo", "clip": 0}, "loss.objective.clip: .* greater than 0"),
        ({"name": "clip_hihger"}, "Did you mean 'clip_higher'"),
    ],
)
def test_a_knob_out_of_its_range_is_refused(choice, message):
    with pytest.raises(ConfigError, match=message):
        configured(choice, OBJECTIVES, "loss.objective")
