from functools import partial

import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.correction import (
    CORRECTIONS,
    correction_weights,
    icepop,
    sampling_ratio,
    sequence_mask,
    token_tis,
)
from nemo_prorl.plugins import resolve


def logs(*rows):
    return torch.tensor(rows).log()


def everywhere(tensor):
    return torch.ones_like(tensor, dtype=torch.bool)


def weights_of(correction, old, sampler):
    return correction(old, sampler, everywhere(old))


# Policy 0.3, 0.1, 0.8 under sampler 0.2, 0.2, 0.1: ratios 1.5, 0.5 and 8.
OLD, SAMPLER = logs([0.3, 0.1, 0.8]), logs([0.2, 0.2, 0.1])


def test_weights_repair_the_sampler_and_are_truncated():
    """1.5, 0.5, and 8 truncated at 2."""
    assert_close(weights_of(partial(token_tis, max_weight=2.0), OLD, SAMPLER), torch.tensor([[1.5, 0.5, 2.0]]))


def test_weighted_samples_of_the_sampler_have_the_means_of_the_policy():
    """Untruncated, sum over tokens of sampler * weight * f is sum of policy * f."""
    policy, sampler = torch.tensor([[0.5, 0.3, 0.2]]), torch.tensor([[0.4, 0.4, 0.2]])
    values = torch.tensor([[1.0, -2.0, 5.0]])
    weights = weights_of(partial(token_tis, max_weight=100.0), policy.log(), sampler.log())
    assert_close((sampler * weights * values).sum(), (policy * values).sum())


def test_icepop_leaves_out_tokens_beyond_either_bound():
    """Within [0.6, 5] only 1.5 stays, as it is; bounds belong to what is kept."""
    assert_close(weights_of(partial(icepop, low=0.6, high=5.0), OLD, SAMPLER), torch.tensor([[1.5, 0.0, 0.0]]))
    exact = weights_of(partial(icepop, low=0.5, high=2.0), logs([0.25, 0.5]), logs([0.5, 0.25]))
    assert_close(exact, torch.tensor([[0.5, 2.0]]))


def test_a_sequence_is_kept_or_dropped_whole_by_its_geometric_mean():
    """First response: ratios 2 and 0.5, geometric mean 1, kept with its own weights. Second: 1.5 and 1.5, so 1.5 is
    its mean, outside [0.8, 1.25], dropped. Third: 1.2 at its only token (the other is padding), kept."""
    old = logs([0.4, 0.1], [0.3, 0.3], [0.6, 0.9])
    sampler = logs([0.2, 0.2], [0.2, 0.2], [0.5, 0.1])
    mask = torch.tensor([[True, True], [True, True], [True, False]])
    bounds = partial(sequence_mask, low=0.8, high=1.25)
    assert_close(bounds(old, sampler, mask)[mask], torch.tensor([2.0, 0.5, 0.0, 0.0, 1.2]))
    assert_close(bounds(old, sampler, mask, max_weight=1.5)[mask], torch.tensor([1.5, 0.5, 0.0, 0.0, 1.2]))


def test_what_a_correction_did_by_hand():
    """Ratios 1.5, 0.5, 8, 3 (masked): weights 1.5, 0, 2: mean 3.5 / 3; one of three truncated, one dropped."""
    metrics = correction_weights(
        torch.tensor([[1.5, 0.0, 2.0, 0.0]]),
        torch.tensor([[1.5, 0.5, 8.0, 3.0]]),
        torch.tensor([[True, True, True, False]]),
    )
    assert_close(
        {name: metric.value for name, metric in metrics.items()},
        {
            "policy/correction_weight": 3.5 / 3,
            "policy/correction_clipped_fraction": 1 / 3,
            "policy/correction_dropped_fraction": 1 / 3,
        },
    )


@pytest.fixture(params=CORRECTIONS)
def correction(request):
    return resolve(request.param, CORRECTIONS, "correction")


def test_a_sampler_that_is_the_policy_needs_no_correction(correction):
    assert torch.equal(weights_of(correction, OLD, OLD), torch.ones(1, 3))


def test_a_weight_is_a_constant_to_the_gradient_and_always_finite(correction):
    old = torch.tensor([[0.0, -900.0]], requires_grad=True)
    weights = weights_of(correction, old, torch.tensor([[-900.0, 0.0]]))
    assert not weights.requires_grad
    assert bool(weights.isfinite().all()) and bool((weights >= 0).all())


def test_nonsense_outside_the_mask_changes_no_weight_inside(correction):
    mask = torch.tensor([[True, False, True]])
    spoiled = torch.where(mask, OLD, torch.nan)
    assert torch.equal(correction(spoiled, SAMPLER, mask)[mask], correction(OLD, SAMPLER, mask)[mask])


def test_the_ratio_of_sampling_is_policy_over_sampler():
    assert_close(sampling_ratio(OLD, SAMPLER, everywhere(OLD)), torch.tensor([[1.5, 0.5, 8.0]]))
