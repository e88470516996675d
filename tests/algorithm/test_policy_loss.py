from functools import partial

import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.correction import icepop, token_tis
from nemo_prorl.algorithm.objective import clip_higher
from nemo_prorl.algorithm.policy_loss import PolicyLoss
from nemo_prorl.algorithm.reduction import sequence_mean, token_mean
from nemo_prorl.errors import ShapeError, TrainingError

OBJECTIVE = partial(clip_higher, clip_low=0.2, clip_high=0.4)


def logs(*numbers):
    return torch.tensor([numbers]).log()


def example(**changed):
    """Four positions of one response, the last outside the mask and full of nonsense.

    policy 0.5 0.2 0.1, old 0.4 0.4 0.1: ratios 1.25, 0.5, 1; advantages 2, -1, 1: losses -2.5, 0.8 (clipped), -1.
    reference 0.25 0.2 0.2: k3 = 0.1931, 0, 0.3069, together 0.5.   sampler 0.2 0.4 0.1: weights 2, 1, 1.
    """
    given = {
        "logprobs_BT": logs(0.5, 0.2, 0.1, torch.inf),
        "entropies_BT": torch.tensor([[1.0, 2.0, 3.0, torch.nan]]),
        "advantages_BT": torch.tensor([[2.0, -1.0, 1.0, torch.nan]]),
        "old_logprobs_BT": logs(0.4, 0.4, 0.1, 0.0),
        "reference_logprobs_BT": logs(0.25, 0.2, 0.2, 0.0),
        "sampler_logprobs_BT": logs(0.2, 0.4, 0.1, torch.nan),
        "mask_BT": torch.tensor([[True, True, True, False]]),
    } | changed
    return (given.pop("logprobs_BT"), given.pop("entropies_BT")), given


def evaluated(loss, **changed):
    positional, named = example(**changed)
    return loss(*positional, **named)


def test_without_kl_and_correction_the_loss_is_the_surrogate():
    """(-2.5 + 0.8 - 1) / 3 = -0.9."""
    mean, metrics = evaluated(PolicyLoss(OBJECTIVE, token_mean))
    assert mean.value == pytest.approx(-0.9)
    assert int(mean.count) == 3
    assert metrics["policy/loss"].value == pytest.approx(-0.9)


def test_the_loss_is_the_surrogate_plus_beta_times_the_kl():
    """-0.9 + 0.3 * 0.5 / 3 = -0.85."""
    mean, metrics = evaluated(PolicyLoss(OBJECTIVE, token_mean, kl_weight=0.3))
    assert mean.value == pytest.approx(-0.85)
    assert metrics["policy/loss"].value == pytest.approx(-0.9)
    assert metrics["kl/reference"].value == pytest.approx(0.5 / 3)
    assert metrics["kl/weighted"].value == pytest.approx(0.05)


def test_the_correction_weighs_the_surrogate_and_not_the_kl():
    """The first token's weight 2 is truncated at 1.5: (-3.75 + 0.8 - 1 + 0.3 * 0.5) / 3 = -3.8 / 3."""
    mean, metrics = evaluated(
        PolicyLoss(OBJECTIVE, token_mean, kl_weight=0.3, correction=partial(token_tis, max_weight=1.5))
    )
    assert mean.value == pytest.approx(-3.8 / 3)
    assert metrics["policy/correction_weight"].value == pytest.approx(3.5 / 3)
    assert metrics["policy/correction_clipped_fraction"].value == pytest.approx(1 / 3)


def test_a_dropped_token_still_counts_in_the_mean():
    """icepop up to 1.5 leaves out the first token, whose weight is 2: (0 + 0.8 - 1) / 3."""
    mean, metrics = evaluated(PolicyLoss(OBJECTIVE, token_mean, correction=partial(icepop, high=1.5)))
    assert mean.value == pytest.approx(-0.2 / 3)
    assert metrics["policy/correction_dropped_fraction"].value == pytest.approx(1 / 3)


def test_the_samplers_health_is_judged_by_fresh_rows_alone():
    """Two rows, each off by a factor of 2 at its first token: of the one that has waited only its staleness is told."""
    positional, named = example()
    rows = [torch.cat([tensor, tensor]) for tensor in positional]
    named = {name: torch.cat([tensor, tensor]) for name, tensor in named.items()}
    named["sampler_logprobs_BT"][0] = named["old_logprobs_BT"][0]
    loss = PolicyLoss(OBJECTIVE, token_mean)
    _, metrics = loss(*rows, **named, fresh_rows_B=torch.tensor([True, False]))
    assert metrics["policy/sampler_multiplicative_error"].value == 1.0
    assert metrics["policy/stale_kl"].value == pytest.approx((2 - 1 - 0.6931472) / 3)  # k3 with d = log 2
    _, all_fresh = loss(*rows, **named)
    assert all_fresh["policy/sampler_multiplicative_error"].value > 1.1
    assert "policy/stale_kl" not in all_fresh


@pytest.mark.parametrize("aggregation", [token_mean, sequence_mean])
def test_surrogate_and_kl_are_reduced_alike_so_their_metrics_add_up_to_the_loss(aggregation):
    mean, metrics = evaluated(PolicyLoss(OBJECTIVE, aggregation, kl_weight=0.3))
    assert mean.value == pytest.approx(metrics["policy/loss"].value + metrics["kl/weighted"].value)


def test_the_kl_is_measured_even_when_it_is_not_in_the_loss():
    _, metrics = evaluated(PolicyLoss(OBJECTIVE, token_mean, kl_weight=0.0))
    assert metrics["kl/reference"].value == pytest.approx(0.5 / 3)
    assert metrics["kl/loss_share"].value == 0.0
    assert "kl/weighted" not in metrics


def test_every_metric_has_its_name_and_no_gradient():
    logprobs = logs(0.5, 0.2, 0.1, 1.0).requires_grad_()
    loss = PolicyLoss(OBJECTIVE, token_mean, kl_weight=0.3, correction=token_tis)
    _, metrics = evaluated(loss, logprobs_BT=logprobs)
    assert set(metrics) == {
        "policy/loss", "policy/entropy", "policy/approximate_kl",
        "policy/ratio_mean", "policy/ratio_max", "policy/ratio_min",
        "policy/clip_fraction", "policy/clip_low_fraction_negative", "policy/clip_high_fraction_positive",
        "policy/outside_low_fraction_positive", "policy/outside_high_fraction_negative",
        "policy/sampler_probability_difference", "policy/sampler_multiplicative_error", "policy/sampler_kl",
        "policy/sampler_sequence_error_max", "policy/sampler_logprob_difference_max",
        "policy/sampler_logprob_difference",
        "policy/correction_weight", "policy/correction_clipped_fraction", "policy/correction_dropped_fraction",
        "kl/reference", "kl/weighted", "kl/loss_share",
    }  # fmt: skip
    assert not any(part.requires_grad for metric in metrics.values() for part in metric)
    assert all(part.isfinite() for metric in metrics.values() for part in metric)


def test_an_objective_without_bounds_has_no_clip_fractions():
    def plain(logp_BT, old_logp_BT, advantage_BT):
        return -advantage_BT * logp_BT

    _, metrics = evaluated(PolicyLoss(plain, token_mean))
    assert not [name for name in metrics if "clip" in name or "outside" in name]


@pytest.mark.parametrize("garbage", [torch.nan, torch.inf, -torch.inf, 1e30])
def test_what_stands_outside_the_mask_touches_neither_loss_nor_gradient(garbage):
    loss = PolicyLoss(
        partial(OBJECTIVE, dual_clip=3.0), token_mean, kl_weight=0.3, kl_gradient="k2", correction=token_tis
    )
    found = []
    for last in (0.0, garbage):
        positional, named = example()
        tensors = [*positional, *(named[name] for name in named if name != "mask_BT")]
        for tensor in tensors:
            tensor[0, -1] = last
        logprobs = positional[0].requires_grad_()
        mean, metrics = loss(*positional, **named)
        (gradient,) = torch.autograd.grad(mean.total, logprobs)
        found.append((mean.value, gradient.tolist(), {name: metric.value for name, metric in metrics.items()}))
    assert found[0] == found[1]
    assert found[0][1][0][-1] == 0.0


def test_at_the_first_update_the_gradient_is_the_policy_gradient_plus_beta_times_the_kl_gradient():
    """At ratio 1: -A / tokens, and with k2's gradient beta * (log policy - log reference) / tokens."""
    logprobs = logs(0.5, 0.2, 0.1, 1.0).requires_grad_()
    loss = PolicyLoss(OBJECTIVE, token_mean, kl_weight=0.3, kl_value="k3", kl_gradient="k2")
    mean, metrics = evaluated(loss, logprobs_BT=logprobs, old_logprobs_BT=logprobs.detach().clone())
    (gradient,) = torch.autograd.grad(mean.total / mean.count, logprobs)
    distance = torch.tensor([2.0, 1.0, 0.5]).log()
    wanted = (-torch.tensor([2.0, -1.0, 1.0]) + 0.3 * distance) / 3
    assert_close(gradient[0, :3], wanted)
    assert metrics["policy/approximate_kl"].value == 0.0


def test_only_the_policy_gets_a_gradient():
    tensors = {
        "logprobs_BT": logs(0.5, 0.2, 0.1, 1.0),
        "old_logprobs_BT": logs(0.4, 0.4, 0.1, 1.0),
        "reference_logprobs_BT": logs(0.25, 0.2, 0.2, 1.0),
        "sampler_logprobs_BT": logs(0.2, 0.4, 0.1, 1.0),
        "entropies_BT": torch.ones(1, 4),
    }
    tensors = {name: tensor.requires_grad_() for name, tensor in tensors.items()}
    mean, _ = evaluated(PolicyLoss(OBJECTIVE, token_mean, kl_weight=0.3, correction=token_tis), **tensors)
    mean.total.backward()
    assert {name for name, tensor in tensors.items() if tensor.grad is not None} == {"logprobs_BT"}


def test_a_not_a_number_inside_the_mask_is_not_hidden():
    mean, _ = evaluated(PolicyLoss(OBJECTIVE, token_mean), logprobs_BT=logs(0.5, torch.nan, 0.1, 1.0))
    assert torch.isnan(mean.total)


def test_a_kl_without_a_reference_is_refused():
    with pytest.raises(TrainingError, match=r"kl_weight=0.3 needs the reference's logprobs"):
        evaluated(PolicyLoss(OBJECTIVE, token_mean, kl_weight=0.3), reference_logprobs_BT=None)


def test_a_correction_without_the_sampler_is_refused():
    with pytest.raises(TrainingError, match="needs the sampler's logprobs"):
        evaluated(PolicyLoss(OBJECTIVE, token_mean, correction=token_tis), sampler_logprobs_BT=None)


@pytest.mark.parametrize(
    "name",
    ["logprobs_BT", "entropies_BT", "advantages_BT", "old_logprobs_BT", "reference_logprobs_BT", "sampler_logprobs_BT"],
)
def test_a_tensor_that_would_be_broadcast_is_refused(name):
    with pytest.raises(ShapeError, match=rf"{name} of \(1, 1\), expected the mask's \(1, 4\)"):
        evaluated(PolicyLoss(OBJECTIVE, token_mean), **{name: torch.zeros(1, 1)})


def test_a_mask_of_numbers_is_refused():
    with pytest.raises(ShapeError, match=r"mask_BT is torch.float32"):
        evaluated(PolicyLoss(OBJECTIVE, token_mean), mask_BT=torch.ones(1, 4))


def test_the_base_model_is_measured_and_has_no_part_in_the_loss():
    """log policy - log base is .5 and -.5 on two tokens of two domains: k2 = 1/8 each; the loss and gradient stay."""
    logp = torch.tensor([[-1.0], [-2.0]], requires_grad=True)
    given = {
        "advantages_BT": torch.tensor([[1.0], [-1.0]]),
        "old_logprobs_BT": None,
        "reference_logprobs_BT": None,
        "sampler_logprobs_BT": None,
        "mask_BT": torch.ones(2, 1, dtype=torch.bool),
    }
    loss = PolicyLoss(clip_higher, token_mean, kl_value="k2")
    plain, _ = loss(logp, torch.zeros(2, 1), **given)
    base = torch.tensor([[-1.5], [-1.5]])
    rows = {"math": torch.tensor([True, False]), "logic": torch.tensor([False, True])}
    measured, metrics = loss(logp, torch.tensor([[0.3], [0.7]]), **given, base_logprobs_BT=base, rows_of_domain=rows)
    assert torch.equal(measured.total, plain.total)
    assert_close(torch.autograd.grad(measured.total, logp)[0], torch.tensor([[-1.0], [1.0]]))
    wanted = {"kl/base": 1 / 8, "kl/math/base": 1 / 8, "kl/logic/base": 1 / 8}
    wanted |= {"policy/math/entropy": 0.3, "policy/logic/entropy": 0.7, "policy/entropy": 0.5}
    assert {name: metrics[name].value for name in wanted} == pytest.approx(wanted)
