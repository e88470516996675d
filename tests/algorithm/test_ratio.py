import torch
from torch.testing import assert_close

from nemo_prorl.algorithm.ratio import LOG_RATIO_LIMIT, probability_ratio


def test_a_ratio_is_the_quotient_of_the_probabilities():
    """0.6 / 0.5 = 1.2 and 0.1 / 0.4 = 0.25."""
    new, old = torch.tensor([0.6, 0.1]).log(), torch.tensor([0.5, 0.4]).log()
    assert_close(probability_ratio(new - old), torch.tensor([1.2, 0.25]))


def test_a_ratio_is_finite_for_every_pair_of_logprobs():
    log_ratio = torch.tensor([1000.0, torch.inf, -1000.0, -torch.inf], requires_grad=True)
    ratio = probability_ratio(log_ratio)
    ratio.sum().backward()
    limit = torch.tensor(LOG_RATIO_LIMIT).exp()
    assert_close(ratio.detach(), torch.stack([limit, limit, 1 / limit, 1 / limit]))
    assert log_ratio.grad.tolist() == [0.0, 0.0, 0.0, 0.0]
