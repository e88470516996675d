import torch
from torch.testing import assert_close

from nemo_prorl.algorithm import diagnostics
from nemo_prorl.algorithm.diagnostics import by_domain, of_domains_seen
from nemo_prorl.algorithm.objective import ClipBounds, clip_higher
from nemo_prorl.algorithm.reduction import Mean


def logs(*numbers):
    return torch.tensor([numbers]).log()


def everywhere(tensor):
    return torch.ones_like(tensor, dtype=torch.bool)


def values(metrics):
    return {name: metric.value for name, metric in metrics.items()}


RATIOS = logs(0.5, 0.9, 1.5, 5.0, 0.5, 0.7, 0.9, 1.5, 5.0, 0.5)
ADVANTAGES = torch.tensor([[1.0, 1, 1, 1, -1, -1, -1, -1, -1, 0]])
OLD = torch.zeros_like(RATIOS)


def test_fractions_out_of_bounds_by_side_and_sign():
    """Bounds 0.8 and 1.4. A > 0: ratios 0.5, 0.9, 1.5, 5: low 1/4, high 2/4 (bites).

    A < 0: 0.5, 0.7, 0.9, 1.5, 5: low 2/5 (bites), high 2/5. Of all ten tokens the bounds hold 2 + 2; a token without
    advantage has no gradient to be robbed of.
    """
    metrics = diagnostics.clipping(RATIOS, OLD, ADVANTAGES, everywhere(OLD), ClipBounds(0.8, 1.4, None))
    assert_close(
        values(metrics),
        {
            "policy/clip_low_fraction_negative": 0.4,
            "policy/clip_high_fraction_positive": 0.5,
            "policy/outside_low_fraction_positive": 0.25,
            "policy/outside_high_fraction_negative": 0.4,
            "policy/clip_fraction": 0.4,
        },
    )


def test_dual_clip_holds_one_token_more():
    """c = 3: of the five falling tokens the one at ratio 5; of all ten 2 + 2 + 1."""
    metrics = values(diagnostics.clipping(RATIOS, OLD, ADVANTAGES, everywhere(OLD), ClipBounds(0.8, 1.4, 3.0)))
    assert_close(metrics["policy/dual_clip_fraction_negative"], 0.2)
    assert_close(metrics["policy/clip_fraction"], 0.5)


def test_the_clip_fraction_is_the_share_of_tokens_without_gradient():
    generator = torch.Generator().manual_seed(0)
    logp, old = (torch.randn(8, 50, generator=generator) * 0.5 for _ in range(2))
    advantage, logp = torch.randn(8, 50, generator=generator), logp.requires_grad_()
    clip_higher(logp, old, advantage, dual_clip=2.0).sum().backward()
    metrics = diagnostics.clipping(logp, old, advantage, everywhere(logp), ClipBounds(0.8, 1.4, 2.0))
    assert int(metrics["policy/clip_fraction"].total) == int(logp.grad.eq(0).sum()) > 0


def test_the_step_of_the_policy_by_hand():
    """New 0.5 and 0.1 over old 0.25 and 0.4: ratios 2 and 0.25, mean 1.125.

    k3 of KL(old || new), d = log new/old: 2 - 1 - ln 2 = 0.30685 and 0.25 - 1 + ln 4 = 0.63629, mean 0.47157.
    The third token is masked.
    """
    mask = torch.tensor([[True, True, False]])
    entropies = torch.tensor([[1.0, 2.0, torch.nan]])
    metrics = diagnostics.policy_step(logs(0.5, 0.1, 1.0), logs(0.25, 0.4, 0.01), entropies, mask)
    assert_close(
        values(metrics),
        {
            "policy/approximate_kl": 0.47157,
            "policy/ratio_mean": 1.125,
            "policy/ratio_max": 2.0,
            "policy/ratio_min": 0.25,
            "policy/entropy": 1.5,
        },
        atol=1e-5,
        rtol=0,
    )


def test_a_policy_that_has_not_moved_has_ratio_one_and_no_kl():
    logp = -torch.rand(3, 5)
    metrics = values(diagnostics.policy_step(logp, logp.clone(), logp, everywhere(logp)))
    assert metrics["policy/approximate_kl"] == 0.0
    assert (metrics["policy/ratio_min"], metrics["policy/ratio_mean"], metrics["policy/ratio_max"]) == (1.0, 1.0, 1.0)


def test_the_kl_share_is_taken_token_by_token():
    """beta 0.5: 0.5 * 2 beside a surrogate of -3 is 1/4; 0.5 * 4 beside 0 is all; 0 beside 0 is nothing.

    The mean of the three is 1.25 / 3.
    """
    metrics = diagnostics.reference_distance(
        torch.tensor([[2.0, 4.0, 0.0]]), torch.tensor([[-3.0, 0.0, 0.0]]), torch.ones(1, 3, dtype=torch.bool), 0.5
    )
    assert_close(values(metrics), {"kl/reference": 2.0, "kl/loss_share": 1.25 / 3})


def test_a_diagnostic_has_no_gradient():
    logp = (-torch.rand(2, 3)).requires_grad_()
    metrics = diagnostics.policy_step(logp, logp.detach(), -logp, everywhere(logp))
    assert not any(part.requires_grad for metric in metrics.values() for part in metric)


def test_means_of_a_domain_are_over_its_own_tokens():
    """math: 1 2 (3 is masked), mean 1.5; logic: 10; code has no row, and is told as a mean of nothing."""
    values = torch.tensor([[1.0, 2.0, 3.0], [10.0, 20.0, 30.0]])
    mask = torch.tensor([[True, True, False], [True, False, False]])
    rows = {
        "math": torch.tensor([True, False]),
        "logic": torch.tensor([False, True]),
        "code": torch.tensor([False, False]),
    }
    metrics = by_domain({"policy/entropy": values}, mask, rows)
    assert {name: metric.value for name, metric in metrics.items()} == {
        "policy/math/entropy": 1.5,
        "policy/logic/entropy": 10.0,
        "policy/code/entropy": 0.0,
    }
    nothing = Mean(torch.tensor(0.0), torch.tensor(0))  # no token had a positive advantage: 0, as ever
    kept = of_domains_seen({**metrics, "policy/clip_high_fraction_positive": nothing}, rows)
    assert set(kept) == {"policy/math/entropy", "policy/logic/entropy", "policy/clip_high_fraction_positive"}
