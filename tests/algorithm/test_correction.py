import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.correction import truncated_importance


def test_weights_repair_the_sampler_and_are_truncated():
    """Policy 0.3, 0.1, 0.8 under sampler 0.2, 0.2, 0.1: 1.5, 0.5, and 8 truncated at 2."""
    old, sampler = torch.tensor([[0.3, 0.1, 0.8]]).log(), torch.tensor([[0.2, 0.2, 0.1]]).log()
    assert_close(truncated_importance(old, sampler, max_weight=2.0), torch.tensor([[1.5, 0.5, 2.0]]))


def test_weighted_samples_of_the_sampler_have_the_means_of_the_policy():
    """Untruncated, sum over tokens of sampler * weight * f is sum of policy * f."""
    policy, sampler = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.4, 0.4, 0.2]])
    values = torch.tensor([[1.0, -2.0, 5.0]])
    weights = truncated_importance(policy.log(), sampler.log(), max_weight=100.0)
    assert_close((sampler * weights * values).sum(), (policy * values).sum())


def test_a_weight_is_a_constant_to_the_gradient_and_always_finite():
    old = torch.tensor([[0.0, -900.0]], requires_grad=True)
    weights = truncated_importance(old, torch.tensor([[-900.0, 0.0]]), max_weight=2.0)
    assert not weights.requires_grad
    assert_close(weights, torch.tensor([[2.0, 0.0]]))
