"""Decoding at fixed shapes, on a CPU: what a GPU replays computes the same; that it replays is tested in tests/gpu."""

import logging

import numpy as np
import pytest
import torch

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.rollout import fixed_shapes
from nemo_prorl.rollout.fixed_shapes import FixedCache, FixedShapes
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from tests.rollout.stand_ins import by_place, prompt

SAMPLING = SamplingParams(3, max_response_tokens=24, context_tokens=64, temperature=1.2, seed=5)
PROMPTS = [prompt("a", length=4), prompt("b", length=9), prompt("c", length=4), prompt("d", length=15)]


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch):
    monkeypatch.setattr(fixed_shapes, "FEWEST_ROWS", 2)
    monkeypatch.setattr(fixed_shapes, "FEWEST_COLUMNS", 8)


@pytest.fixture
def fixed(folder, tokenizer, weights):
    engine = TransformersEngine(folder, tokenizer, "cpu", fixed_shapes=True)
    engine.load_weights(weights.items())
    return engine


def test_steps_have_a_few_shapes_only(fixed):
    """12 rows and up to 39 columns: rows of 16, 8, 4, 2 at most, columns of 16, 32, 64."""
    shapes = set()
    fixed._model.register_forward_pre_hook(
        lambda _, args, kwargs: (
            shapes.add((kwargs["input_ids"].shape[0], kwargs["attention_mask"].shape[-1]))
            if kwargs["input_ids"].shape[1] == 1
            else None
        ),
        with_kwargs=True,
    )
    by_place(fixed, PROMPTS, SAMPLING)
    assert shapes
    assert {rows for rows, _ in shapes} <= {2, 4, 8, 16}
    assert {columns for _, columns in shapes} <= {16, 32, 64}


def test_on_a_cpu_shapes_are_not_fixed_unless_asked_for(engine, fixed):
    assert engine._fixed is None and fixed._fixed is not None


def test_memory_is_used_again_by_the_next_batch_and_goes_at_a_release(fixed):
    by_place(fixed, PROMPTS, SAMPLING)
    cache = fixed._fixed._cache
    where, moves = cache._keys[0].data_ptr(), cache.moves
    by_place(fixed, PROMPTS[:2], SAMPLING)
    assert (cache._keys[0].data_ptr(), cache.moves) == (where, moves)
    fixed.release()
    assert not fixed._fixed._cache._keys


def test_what_an_earlier_batch_left_is_never_seen(fixed, engine):
    """A long batch first: its columns stand behind those of the short one that follows in the same memory."""
    expected = by_place(engine, PROMPTS[:1], SAMPLING)
    by_place(fixed, PROMPTS, SAMPLING)
    for place, completion in by_place(fixed, PROMPTS[:1], SAMPLING).items():
        assert np.array_equal(completion.token_ids, expected[place].token_ids)
        assert np.abs(completion.logprobs - expected[place].logprobs).max() < 1e-5


def test_a_cache_moves_only_when_it_is_too_small():
    cache = FixedCache()
    for rows, columns, moves in [(3, 5, 1), (4, 7, 1), (2, 3, 1), (5, 5, 2), (5, 9, 3)]:
        assert cache.begin(rows, columns, 64).moves == moves


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device captures it")
def test_a_model_whose_steps_cannot_be_captured_runs_all_the_same_and_the_log_says_so(engine, fixed, caplog):
    expected = by_place(engine, PROMPTS, SAMPLING)
    fixed._fixed = FixedShapes(fixed._forward, graphs=True)
    with caplog.at_level(logging.WARNING):
        found = by_place(fixed, PROMPTS, SAMPLING)
    assert len([record for record in caplog.records if "can't be replayed as CUDA graphs" in record.message]) == 1
    for place, completion in found.items():
        assert np.array_equal(completion.token_ids, expected[place].token_ids)
