"""How far sampler and trainer are apart: numbers worked by hand, and laws."""

from functools import reduce

import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.mismatch import Mismatch, sampler_mismatch
from nemo_prorl.algorithm.reduction import merge


def logs(*numbers):
    return torch.tensor([numbers]).log()


TRAINER = torch.cat([logs(0.5, 0.1), logs(0.3, 0.9)])
SAMPLER = torch.cat([logs(0.4, 0.2), logs(0.3, 0.1)])
MASK = torch.tensor([[True, True], [True, False]])


def test_the_mismatch_with_the_sampler_by_hand():
    """Trainer 0.5 and 0.1 against sampler 0.4 and 0.2: off by the factors 1.25 and 2, by 0.1 in probability both.

    In logprobs by ln 1.25 = 0.22314 and ln 2 = 0.69315, 0.91629 together. The worst response is off by exp of half of
    that, the square root of 2.5: 1.58114. k3 of KL(sampler || trainer), d = log trainer/sampler: 0.25 - ln 1.25 =
    0.02686 and 0.5 - 1 + ln 2 = 0.19315. A second response agrees at its only token, which makes three.
    """
    metrics = sampler_mismatch(TRAINER, SAMPLER, MASK)
    assert_close(
        {name: metric.value for name, metric in metrics.items()},
        {
            "policy/sampler_multiplicative_error": 4.25 / 3,
            "policy/sampler_logprob_difference": 0.91629 / 3,
            "policy/sampler_logprob_difference_max": 0.69315,
            "policy/sampler_probability_difference": 0.2 / 3,
            "policy/sampler_sequence_error_max": 1.58114,
            "policy/sampler_kl": 0.22001 / 3,
        },
        atol=1e-5,
        rtol=0,
    )
    whole = Mismatch.of(metrics)
    assert whole.tokens == 3
    assert whole.multiplicative_error == pytest.approx(4.25 / 3)
    assert "1.4167 over 3 tokens" in str(whole)


def test_what_stands_outside_the_mask_is_never_looked_at():
    spoiled = TRAINER.clone()
    spoiled[1, 1] = torch.nan
    assert Mismatch.of(sampler_mismatch(spoiled, SAMPLER, MASK)) == Mismatch.of(
        sampler_mismatch(TRAINER, SAMPLER, MASK)
    )


def test_equal_logprobs_are_within_every_limit_and_nothing_is_within_none():
    same = Mismatch.of(sampler_mismatch(SAMPLER, SAMPLER, MASK))
    assert same.multiplicative_error == 1.0 and same.is_within(1.0)
    assert not Mismatch.of(sampler_mismatch(SAMPLER, SAMPLER, torch.zeros_like(MASK))).is_within(1.05)


@pytest.mark.parametrize("broken", [torch.nan, -torch.inf])
def test_what_is_not_a_number_is_within_no_limit(broken):
    spoiled = TRAINER.clone()
    spoiled[0, 0] = broken
    assert not Mismatch.of(sampler_mismatch(spoiled, SAMPLER, MASK)).is_within(1e6)


@pytest.mark.parametrize("parts", [1, 2, 4])
def test_the_mismatch_does_not_depend_on_how_the_rows_are_cut(parts):
    generator = torch.Generator().manual_seed(0)
    trainer, sampler = (-torch.rand(4, 5, generator=generator) for _ in range(2))
    mask = torch.rand(4, 5, generator=generator) < 0.7
    cut = zip(trainer.chunk(parts), sampler.chunk(parts), mask.chunk(parts), strict=True)
    summed = reduce(merge, [sampler_mismatch(*part) for part in cut])
    whole = Mismatch.of(sampler_mismatch(trainer, sampler, mask))
    assert_close(vars(Mismatch.of(summed)), vars(whole))
