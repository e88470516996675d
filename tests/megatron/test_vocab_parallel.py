"""Logprobs and entropy against log_softmax, and their gradients against autograd's."""

import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.megatron.vocab_parallel import logprobs_and_entropies
from tests.megatron import scenarios
from tests.processes import run_ranks

VOCAB, PADDED = 37, 48


def naive(logits_NV, targets_N, temperature):
    log_p_NV = torch.log_softmax(logits_NV.float()[:, :VOCAB] / temperature, dim=-1)
    return log_p_NV.gather(1, targets_N[:, None])[:, 0], -(log_p_NV.exp() * log_p_NV).sum(dim=-1)


def example(tokens=11, dtype=torch.float32, scale=5.0):
    generator = torch.Generator().manual_seed(0)
    logits_NV = (scale * torch.randn(tokens, PADDED, generator=generator)).to(dtype)
    targets_N = torch.randint(0, VOCAB, (tokens,), generator=generator)
    return logits_NV, targets_N, torch.randn(2, tokens, generator=generator)


def results_and_gradient(function, logits_NV, weights_2N):
    leaf = logits_NV.clone().requires_grad_()
    # A gradient may be written over the logits, so they are not a leaf, as in a model.
    logprobs_N, entropies_N = function(leaf * 1.0)
    (weights_2N[0] * logprobs_N + weights_2N[1] * entropies_N).sum().backward()
    return logprobs_N.detach(), entropies_N.detach(), leaf.grad


@pytest.mark.parametrize("temperature", [0.6, 1.0, 1.2])
@pytest.mark.parametrize("chunk_elements", [1, 3 * PADDED, 1 << 22])
def test_results_and_gradients_are_those_of_log_softmax(temperature, chunk_elements):
    logits_NV, targets_N, weights_2N = example()
    ours = results_and_gradient(
        lambda x: logprobs_and_entropies(
            x, targets_N, temperature=temperature, vocab_size=VOCAB, group=None, chunk_elements=chunk_elements
        ),
        logits_NV,
        weights_2N,
    )
    theirs = results_and_gradient(lambda x: naive(x, targets_N, temperature), logits_NV, weights_2N)
    assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    assert (ours[2][:, VOCAB:] == 0).all()


def test_by_hand():
    """Logits ln 1, ln 3 (and a padding column): p = 1/4, 3/4; entropy = ln 4 - 3/4 ln 3."""
    logits_NV = torch.tensor([[1.0, 3.0, 9.0]]).log()
    logprobs_N, entropies_N = logprobs_and_entropies(
        logits_NV, torch.tensor([1]), temperature=1.0, vocab_size=2, group=None
    )
    assert_close(logprobs_N, torch.tensor([0.75]).log())
    assert_close(entropies_N, torch.tensor([1.386294 - 0.75 * 1.098612]))


def test_a_certain_token_has_no_entropy_and_no_gradient_that_is_not_a_number():
    logits_NV = torch.tensor([[1e4, -1e4, 0.0]], requires_grad=True)
    logprobs_N, entropies_N = logprobs_and_entropies(
        logits_NV * 1.0, torch.tensor([0]), temperature=1.0, vocab_size=3, group=None
    )
    (logprobs_N + entropies_N).sum().backward()
    assert (logprobs_N.item(), entropies_N.item()) == (0.0, 0.0)
    assert torch.isfinite(logits_NV.grad).all()


def test_bf16_logits_give_fp32_results_of_their_own_values():
    logits_NV, targets_N, _ = example(dtype=torch.bfloat16)
    ours = logprobs_and_entropies(logits_NV, targets_N, temperature=1.2, vocab_size=VOCAB, group=None)
    assert_close(ours, naive(logits_NV, targets_N, 1.2), atol=1e-5, rtol=1e-5)
    assert all(tensor.dtype == torch.float32 for tensor in ours)


def test_no_token_at_all_is_fine():
    logprobs_N, entropies_N = logprobs_and_entropies(
        torch.zeros(0, 4, requires_grad=True) * 1.0,
        torch.zeros(0, dtype=torch.long),
        temperature=1.0,
        vocab_size=4,
        group=None,
    )
    (logprobs_N.sum() + entropies_N.sum()).backward()
    assert logprobs_N.shape == entropies_N.shape == (0,)


@pytest.mark.processes
@pytest.mark.parametrize("vocab_size", [37, 24, 5])
def test_a_vocabulary_cut_over_ranks_gives_the_same(vocab_size):
    """Of 48 columns over two ranks; with 24 and 5 the second rank holds nothing but padding."""
    logits_NV, targets_N, weights_2N = example()
    targets_N = targets_N % vocab_size
    alone = results_and_gradient(
        lambda x: logprobs_and_entropies(x, targets_N, temperature=1.2, vocab_size=vocab_size, group=None),
        logits_NV,
        weights_2N,
    )
    shards = run_ranks(scenarios.scores_of_shards, 2, logits_NV, targets_N, weights_2N, vocab_size)
    for logprobs_N, entropies_N, _ in shards:
        assert_close((logprobs_N, entropies_N), alone[:2], atol=1e-5, rtol=1e-5)
    assert_close(torch.cat([gradient for _, _, gradient in shards], dim=1), alone[2], atol=1e-5, rtol=1e-5)
