import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.kl import ESTIMATORS, k1, k2, k3, kl_penalty

POLICY_LOGITS = torch.tensor([1.0, -0.5, 0.3, -2.0], dtype=torch.float64)
REFERENCE = torch.tensor([0.1, 0.4, 0.3, 0.2], dtype=torch.float64).log()


def exact_gradient(divergence):
    """Gradient by the logits of a divergence between policy and reference, both given as all their logprobs."""
    logits = POLICY_LOGITS.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(divergence(logits.log_softmax(-1)), logits)
    return gradient


def expected_gradient(**chosen):
    """Mean of the estimate's gradient over the policy's own samples: each token counts by its probability."""
    return exact_gradient(lambda logp: (logp.detach().exp() * kl_penalty(logp, REFERENCE, **chosen)).sum())


def kl_of_policy(logp):
    return (logp.exp() * (logp - REFERENCE)).sum()


def kl_of_reference(logp):
    return (REFERENCE.exp() * (REFERENCE - logp)).sum()


def test_three_estimates_by_hand():
    """Policy 1/2, reference 1/4: d = -ln 2; k1 = 0.6931, k2 = 0.4805 / 2 = 0.2402, k3 = 1/2 - 1 + 0.6931 = 0.1931.

    Policy 1/4, reference 1/2: d = ln 2; k1 = -0.6931, k2 = 0.2402, k3 = 2 - 1 - 0.6931 = 0.3069.
    """
    policy, reference = torch.tensor([0.5, 0.25]).log(), torch.tensor([0.25, 0.5]).log()
    assert_close(k1(policy, reference), torch.tensor([0.69315, -0.69315]), atol=1e-5, rtol=0)
    assert_close(k2(policy, reference), torch.tensor([0.24023, 0.24023]), atol=1e-5, rtol=0)
    assert_close(k3(policy, reference), torch.tensor([0.19315, 0.30685]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("value", ["k1", "k3"])
def test_the_mean_of_k1_and_of_k3_is_the_exact_kl(value):
    logp = POLICY_LOGITS.log_softmax(-1)
    assert_close((logp.exp() * kl_penalty(logp, REFERENCE, value=value)).sum(), kl_of_policy(logp))


def test_k2_follows_the_gradient_of_the_exact_kl():
    assert_close(expected_gradient(value="k2"), exact_gradient(kl_of_policy))


def test_k3_follows_the_gradient_of_the_reverse_kl_instead():
    assert_close(expected_gradient(value="k3"), exact_gradient(kl_of_reference))
    assert (expected_gradient(value="k3") - exact_gradient(kl_of_policy)).abs().max() > 0.1


def test_k1_as_a_loss_does_nothing():
    assert_close(expected_gradient(value="k1"), torch.zeros(4, dtype=torch.float64))


@pytest.mark.parametrize("value", ["k1", "k2", "k3"])
@pytest.mark.parametrize("gradient", ["k1", "k2", "k3", None])
def test_value_and_gradient_are_chosen_apart(value, gradient):
    logp = torch.tensor([[-0.3, -2.0, -5.0]], requires_grad=True)
    reference = torch.tensor([[-0.9, -1.0, -5.0]])
    penalty = kl_penalty(logp, reference, value=value, gradient=gradient)
    assert torch.equal(penalty, ESTIMATORS[value](logp, reference))
    (found,) = torch.autograd.grad(penalty.sum(), logp)
    (wanted,) = torch.autograd.grad(ESTIMATORS[gradient or value](logp, reference).sum(), logp)
    assert torch.equal(found, wanted)


def test_the_value_of_k3_with_the_gradient_of_k2_is_right_in_both():
    logp = POLICY_LOGITS.log_softmax(-1)
    assert_close((logp.exp() * kl_penalty(logp, REFERENCE, value="k3", gradient="k2")).sum(), kl_of_policy(logp))
    assert_close(expected_gradient(value="k3", gradient="k2"), exact_gradient(kl_of_policy))


@pytest.mark.parametrize("value", ["k1", "k2", "k3"])
def test_a_policy_that_is_its_reference_has_no_kl_and_no_force(value):
    logp = torch.tensor([[-0.1, -7.0]], requires_grad=True)
    penalty = kl_penalty(logp, logp.detach().clone(), value=value)
    assert penalty.tolist() == [[0.0, 0.0]]
    if value != "k1":
        assert torch.autograd.grad(penalty.sum(), logp)[0].tolist() == [[0.0, 0.0]]


def test_k3_keeps_its_digits_near_zero():
    """d = 1e-3 gives d^2/2 + d^3/6 = 5.0017e-7, which e^d - 1 - d in float32 can't tell from 4.8e-7 or 6.0e-7."""
    assert_close(k3(torch.tensor(-1e-3), torch.tensor(0.0)).item(), 5.0017e-7, rtol=1e-3, atol=0)


def test_k3_is_finite_however_far_the_policy_went():
    logp = torch.tensor([-500.0, 0.0], requires_grad=True)
    penalty = k3(logp, torch.tensor([0.0, -500.0]))
    penalty.sum().backward()
    assert penalty.isfinite().all()
    assert logp.grad.isfinite().all()


def test_the_reference_gets_no_gradient():
    reference = torch.tensor([-1.0], requires_grad=True)
    kl_penalty(torch.tensor([-2.0], requires_grad=True), reference).sum().backward()
    assert reference.grad is None
