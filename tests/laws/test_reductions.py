"""The loss and its gradient belong to the rows of an update, not to the way they are cut, padded or ordered."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.correction import icepop, sequence_mask, token_tis
from nemo_prorl.algorithm.objective import clip_higher
from nemo_prorl.algorithm.policy_loss import PolicyLoss
from nemo_prorl.algorithm.reduction import Mean, constant_length, merge, sequence_mean, token_mean

ROWS, WIDTH, FEATURES = 7, 6, 4
AGGREGATIONS = {
    "token_mean": token_mean,
    "sequence_mean": sequence_mean,
    "constant_length": partial(constant_length, length=9),
}
CUTS = {"whole": [0, 7], "halves": [0, 3, 7], "uneven": [0, 1, 5, 7], "single rows": list(range(8))}


def update(seed=0):
    """Rows of several lengths (one has no token at all), nonsense behind their ends, and a model of four weights."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([6, 1, 4, 0, 3, 6, 2])
    mask = torch.arange(WIDTH) < lengths[:, None]

    def noise(size):
        values = size * torch.randn(ROWS, WIDTH, generator=generator)
        return torch.where(mask, values, torch.nan)

    features = torch.randn(ROWS, WIDTH, FEATURES, generator=generator)
    logprobs = -features.square().sum(-1)
    rows = {"advantages_BT": noise(1.0), "mask_BT": mask}
    for name in ("old", "reference", "sampler"):
        rows[f"{name}_logprobs_BT"] = logprobs + noise(0.3)
    return features, rows


CORRECTIONS = {
    "token_tis": partial(token_tis, max_weight=1.1),
    "icepop": partial(icepop, low=0.8, high=1.25),
    "sequence_mask": partial(sequence_mask, low=0.9, high=1.1, max_weight=1.5),
}


def loss_and_gradient(aggregation, parts, correction=token_tis):
    """Gradients of the parts' totals add up in the weights; one division at the end, by the count of all parts."""
    loss = PolicyLoss(
        partial(clip_higher, dual_clip=3.0), aggregation, kl_weight=0.1, kl_gradient="k2", correction=correction
    )
    weights = torch.ones(FEATURES, requires_grad=True)
    means, metrics = [], []
    for features, rows in parts:
        logprobs = -(features.square() @ weights)
        mean, found = loss(logprobs, -logprobs, **rows)
        mean.total.backward()
        means.append(Mean(mean.total.detach(), mean.count))
        metrics.append(found)
    whole = means[0]
    for mean in means[1:]:
        whole = whole + mean
    return whole, weights.grad / whole.count, {name: metric.value for name, metric in merge(*metrics).items()}


def rows_of(features, rows, index):
    return features[index], {name: tensor[index] for name, tensor in rows.items()}


def assert_same(found, wanted):
    assert torch.equal(found[0].count, wanted[0].count)
    assert_close(found[0].total, wanted[0].total)
    assert_close(found[1], wanted[1])
    assert_close(found[2], wanted[2])


@pytest.fixture(params=AGGREGATIONS)
def aggregation(request):
    return AGGREGATIONS[request.param]


@pytest.mark.parametrize("cut", CUTS)
def test_the_loss_does_not_depend_on_how_the_rows_are_cut(aggregation, cut):
    features, rows = update()
    parts = [rows_of(features, rows, slice(start, end)) for start, end in pairwise(CUTS[cut])]
    assert_same(loss_and_gradient(aggregation, parts), loss_and_gradient(aggregation, [(features, rows)]))


@pytest.mark.parametrize("cut", ["halves", "single rows"])
@pytest.mark.parametrize("name", CORRECTIONS)
def test_nor_does_it_with_any_correction_of_the_sampler(name, cut):
    """Each of these drops or cuts some tokens of these rows and leaves others."""
    features, rows = update()
    parts = [rows_of(features, rows, slice(start, end)) for start, end in pairwise(CUTS[cut])]
    whole = loss_and_gradient(token_mean, [(features, rows)], CORRECTIONS[name])
    changed = whole[2]["policy/correction_dropped_fraction"] + whole[2]["policy/correction_clipped_fraction"]
    assert 0 < changed < 1
    assert_same(loss_and_gradient(token_mean, parts, CORRECTIONS[name]), whole)


def test_the_loss_does_not_depend_on_the_order_of_the_rows(aggregation):
    features, rows = update()
    shuffled = rows_of(features, rows, torch.tensor([3, 6, 0, 5, 1, 4, 2]))
    assert_same(loss_and_gradient(aggregation, [shuffled]), loss_and_gradient(aggregation, [(features, rows)]))


@pytest.mark.parametrize("garbage", [0.0, torch.nan, torch.inf])
def test_the_loss_does_not_depend_on_padding(aggregation, garbage):
    features, rows = update()
    padded = {
        name: torch.nn.functional.pad(tensor, (0, 5, 0, 2), value=False if name == "mask_BT" else garbage)
        for name, tensor in rows.items()
    }
    # The padding's logprobs are the model's own and so finite, as those of any token are.
    wider = torch.nn.functional.pad(features, (0, 0, 0, 5, 0, 2), value=1.0)
    assert_same(loss_and_gradient(aggregation, [(wider, padded)]), loss_and_gradient(aggregation, [(features, rows)]))


def test_the_gradient_is_the_gradient_of_the_mean(aggregation):
    """One division at the end is the derivative of total / count: checked by finite differences in float64."""
    features, rows = update(seed=1)
    features = features.double()
    rows = {name: tensor if name == "mask_BT" else tensor.double() for name, tensor in rows.items()}
    # k2's value has k2's gradient, and the sampler's weights are constants: then value and gradient belong together.
    loss = PolicyLoss(clip_higher, aggregation, kl_weight=0.1, kl_value="k2", correction=token_tis)

    def mean_of(weights):
        mean, _ = loss(-(features.square() @ weights), torch.zeros(ROWS, WIDTH), **rows)
        return mean.total / mean.count

    weights = torch.full((FEATURES,), 0.9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mean_of, weights)


def test_averaging_the_means_of_microbatches_would_be_another_loss():
    """Why a mean travels in two parts: rows of different lengths make the mean of means something else."""
    features, rows = update()
    parts = [rows_of(features, rows, slice(start, end)) for start, end in pairwise(CUTS["uneven"])]
    averaged = sum(loss_and_gradient(token_mean, [part])[0].value for part in parts) / len(parts)
    assert averaged != pytest.approx(loss_and_gradient(token_mean, [(features, rows)])[0].value, rel=1e-2)
