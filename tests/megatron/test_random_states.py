"""The random states of a rank: what was drawn after they were taken is drawn again."""

import pytest
import torch

from nemo_prorl.megatron.random_states import random_states, restore_random_states


def test_cuda_is_absent_where_there_is_none(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert sorted(random_states()) == ["megatron", "numpy", "python", "torch"]


def test_the_generator_of_cuda_is_one_of_them(monkeypatch):
    """A generator of the CPU takes its place, so that this holds on every host."""
    generator = torch.Generator().manual_seed(3)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_rng_state", generator.get_state)
    monkeypatch.setattr(torch.cuda, "set_rng_state", generator.set_state)
    states = random_states()
    drawn = torch.rand(4, generator=generator)
    restore_random_states(states)
    assert torch.equal(torch.rand(4, generator=generator), drawn)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_dropout_on_a_gpu_falls_as_before():
    states = random_states()
    drawn = torch.rand(4, device="cuda")
    restore_random_states(states)
    assert torch.equal(torch.rand(4, device="cuda"), drawn)


def test_states_of_a_host_with_cuda_can_be_restored_without(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    states = random_states()
    drawn = torch.rand(4)
    restore_random_states({**states, "cuda": torch.zeros(16, dtype=torch.uint8)})
    assert torch.equal(torch.rand(4), drawn)
