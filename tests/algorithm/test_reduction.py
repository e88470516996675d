from functools import partial

import pytest
import torch

from nemo_prorl.algorithm.reduction import (
    AGGREGATIONS,
    Max,
    Mean,
    Min,
    constant_length,
    largest,
    masked,
    merge,
    pack,
    sequence_mean,
    smallest,
    token_mean,
    unpack,
)
from nemo_prorl.errors import ConfigError, ShapeError
from nemo_prorl.plugins import configured

VALUES = torch.tensor([[4.0, torch.nan, torch.inf], [1.0, 2.0, 3.0]])
MASK = torch.tensor([[True, False, False], [True, True, True]])
EVERY_AGGREGATION = [token_mean, sequence_mean, partial(constant_length, length=5)]


def mean(total, count):
    return Mean(torch.tensor(float(total)), torch.tensor(count))


def test_three_ways_to_weigh_the_same_tokens():
    """Responses (4) and (1, 2, 3): tokens 10 / 4; responses (4 + 2) / 2; over a length of 5 (4/5 + 6/5) / 2."""
    assert token_mean(VALUES, MASK).value == pytest.approx(2.5)
    assert sequence_mean(VALUES, MASK).value == pytest.approx(3.0)
    assert constant_length(VALUES, MASK, length=5).value == pytest.approx(1.0)


def test_a_mean_counts_tokens_or_responses():
    assert [int(reduce(VALUES, MASK).count) for reduce in EVERY_AGGREGATION] == [4, 2, 2]


@pytest.mark.parametrize("reduce", EVERY_AGGREGATION)
def test_a_mean_is_a_float32_and_a_whole_number(reduce):
    total, count = reduce(VALUES, MASK)
    assert (total.dtype, count.dtype, total.dim(), count.dim()) == (torch.float32, torch.int64, 0, 0)


@pytest.mark.parametrize("reduce", EVERY_AGGREGATION)
def test_a_row_without_a_token_changes_nothing(reduce):
    values = torch.cat([VALUES, torch.full((1, 3), torch.nan)])
    mask = torch.cat([MASK, torch.zeros(1, 3, dtype=torch.bool)])
    assert reduce(values, mask) == reduce(VALUES, MASK)


@pytest.mark.parametrize("reduce", EVERY_AGGREGATION)
def test_nothing_at_all_has_a_mean_of_zero_and_still_a_gradient(reduce):
    values = torch.full((2, 3), torch.nan, requires_grad=True)
    found = reduce(values, torch.zeros(2, 3, dtype=torch.bool))
    found.total.backward()
    assert (found.value, int(found.count)) == (0.0, 0)
    assert values.grad.eq(0).all()


def test_no_gradient_reaches_what_is_masked():
    values = VALUES.clone().requires_grad_()
    masked(values, MASK).exp().sum().backward()
    assert values.grad[0].tolist()[1:] == [0.0, 0.0]
    assert values.grad[1].ne(0).all()


def test_what_is_wrong_inside_the_mask_stays_visible():
    assert torch.isnan(token_mean(VALUES, torch.ones_like(MASK)).total)


def test_means_add_by_their_parts():
    """(6 / 3) + (2 / 1) = 8 / 4, not the mean of the means' sum."""
    assert (mean(6, 3) + mean(2, 1)).value == 2.0
    assert (mean(6, 3) + mean(0, 0)).value == 2.0


def test_extremes_add_by_being_compared_and_have_no_gradient():
    values = VALUES.clone().requires_grad_()
    assert (largest(values, MASK).value, smallest(values, MASK).value) == (4.0, 1.0)
    assert (Max(torch.tensor(2.0)) + Max(torch.tensor(-3.0))).value == 2.0
    assert (Min(torch.tensor(2.0)) + Min(torch.tensor(-3.0))).value == -3.0
    assert not largest(values, MASK).largest.requires_grad


def test_extremes_of_nothing_are_zero_and_leave_others_alone():
    nothing = torch.zeros_like(MASK)
    assert (largest(VALUES, nothing).value, smallest(VALUES, nothing).value) == (0.0, 0.0)
    assert (largest(VALUES, nothing) + Max(torch.tensor(-3.0))).value == -3.0
    assert (smallest(VALUES, nothing) + Min(torch.tensor(3.0))).value == 3.0


def test_metrics_of_microbatches_merge_by_name():
    merged = merge({"a": mean(1, 1), "b": Max(torch.tensor(1.0))}, {"a": mean(5, 1)}, {"b": Max(torch.tensor(7.0))})
    assert {name: metric.value for name, metric in merged.items()} == {"a": 3.0, "b": 7.0}
    assert merge() == {}


def test_a_name_can_not_be_two_kinds_of_metric():
    with pytest.raises(ShapeError, match="'a' is a Mean in one part and a Max"):
        merge({"a": mean(1, 1)}, {"a": Max(torch.tensor(1.0))})


def test_two_all_reduces_do_what_merging_does():
    """The vectors of three ranks, summed and maximised as the collectives would; their dicts in different orders."""
    ranks = [
        {"mean": mean(r + 0.5, r), "max": Max(torch.tensor(r - 1.0)), "min": Min(torch.tensor(2.0 - r))}
        for r in range(3)
    ]
    packed = [pack(dict(reversed(rank.items())) if r % 2 else rank) for r, rank in enumerate(ranks)]
    assert len({layout for _, _, layout in packed}) == 1
    sums, maxes = torch.stack([p[0] for p in packed]).sum(0), torch.stack([p[1] for p in packed]).amax(0)
    found, wanted = unpack(sums, maxes, packed[0][2]), merge(*ranks)
    assert found == wanted
    assert found["mean"].count.dtype == torch.int64
    assert {name: metric.value for name, metric in found.items()} == {"mean": 1.5, "max": 1.0, "min": 0.0}


def test_counts_beyond_float32_survive_packing():
    """2**24 + 1 is the first whole number that float32 doesn't have."""
    sums, maxes, layout = pack({"tokens": mean(1, 2**24 + 1)})
    assert int(unpack(sums, maxes, layout)["tokens"].count) == 2**24 + 1


@pytest.mark.parametrize("metrics", [{}, {"a": mean(1, 2)}, {"a": Max(torch.tensor(1.0))}])
def test_packing_works_when_a_vector_is_empty(metrics):
    assert unpack(*pack(metrics)) == metrics


def test_packing_leaves_the_gradient_behind():
    total = torch.tensor(1.0, requires_grad=True)
    assert not pack({"loss": Mean(total, torch.tensor(1))})[0].requires_grad


def test_the_constant_length_must_be_positive():
    with pytest.raises(ConfigError, match=r"loss.aggregation.length: .* greater than 0"):
        configured({"name": "constant_length", "length": 0}, AGGREGATIONS, "loss.aggregation")
