"""The random states of a rank: what was drawn after they were taken is drawn again."""

import pytest
import torch
from megatron.core import tensor_parallel

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


@pytest.mark.parametrize("is_there", [True, False])
def test_states_of_a_host_with_cuda_can_be_restored_without_and_the_other_way_around(monkeypatch, is_there):
    """Megatron's generators are of CUDA where it is: those of another kind would fail when something is drawn."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    tracker = tensor_parallel.get_cuda_rng_tracker()
    monkeypatch.setattr(tracker, "states_", {"model-parallel-rng": "its own"})
    states = random_states()
    drawn = torch.rand(4)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: is_there)
    elsewhere = {} if is_there else {"cuda": torch.zeros(16, dtype=torch.uint8)}
    restore_random_states({**states, **elsewhere, "megatron": {"model-parallel-rng": "of the other host"}})
    assert torch.equal(torch.rand(4), drawn)
    assert tracker.get_states() == {"model-parallel-rng": "its own"}
