"""What the native engine does beyond what every engine with a model does (test_model_engines.py)."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoModelForCausalLM

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import RolloutError, WeightsError
from nemo_prorl.rollout.native import generation, kernels
from nemo_prorl.rollout.native.engine import NativeEngine, native_or_transformers
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from tests.rollout.stand_ins import by_place, prompt, scored
from tests.tiny_models import tiny_hf_folder

SAMPLING = SamplingParams(3, max_response_tokens=24, context_tokens=64, temperature=1.2, seed=5)
PROMPTS = [prompt("a", length=1), prompt("b", length=17), prompt("c", length=16), prompt("d", length=33)]
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}
LINEAR = {"rope_type": "linear", "rope_theta": 10_000.0, "factor": 4.0}
YARN = {"rope_type": "yarn", "rope_theta": 10_000.0, "factor": 4.0, "original_max_position_embeddings": 32}
SHAPES = {
    "one query head a key head": dict(family="qwen2", heads=4, kv_heads=4),
    "seven": dict(family="qwen2", hidden_size=56, heads=7, kv_heads=1),
    "heads wider than the hidden size": dict(family="qwen3", head_dim=40),
    "sizes that no vector divides": dict(family="qwen2", hidden_size=36, heads=6, kv_heads=2, ffn_size=50),
    "stretched positions": dict(family="llama", rope_parameters=LLAMA3),
    "positions divided": dict(family="qwen2", rope_parameters=LINEAR),
    "yarn": dict(family="qwen3", rope_parameters=YARN),
    "untied": dict(family="llama", tied=False),
    "matrices of several panels": dict(
        family="qwen3", hidden_size=256, heads=4, kv_heads=2, ffn_size=256, vocabulary_size=600
    ),
}


def ended_by(*stop_ids: int):
    """A tokenizer for which these tokens end an answer."""

    def of(folder):
        tokenizer = Tokenizer.load(folder)
        tokenizer.stop_ids = stop_ids
        return tokenizer

    return of


endless = ended_by()


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_model_gives_the_logprobs_of_transformers(tmp_path, shape):
    folder = tiny_hf_folder(tmp_path, **SHAPES[shape])
    engine = NativeEngine(folder, Tokenizer.load(folder))
    engine.load_weights(load_file(folder / "model.safetensors").items())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt_ids = {one.uid: one.token_ids for one in PROMPTS}
    for (uid, _), completion in by_place(engine, PROMPTS, SAMPLING).items():
        expected = scored(model, prompt_ids[uid], completion.token_ids, SAMPLING.temperature)
        assert_close(torch.from_numpy(completion.logprobs), expected, atol=1e-5, rtol=0)


def test_a_response_may_outgrow_its_first_memory_twice(folder, weights):
    """230 tokens, where there is room for 128 at first."""
    engine = NativeEngine(folder, endless(folder))
    engine.load_weights(weights.items())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    long = SamplingParams(2, max_response_tokens=230, context_tokens=256, seed=1)
    asked = prompt("long", length=26)
    for completion in by_place(engine, [asked], long).values():
        assert len(completion.token_ids) == 230
        expected = scored(model, asked.token_ids, completion.token_ids, 1.0)
        assert_close(torch.from_numpy(completion.logprobs), expected, atol=1e-5, rtol=0)


def test_rows_that_wait_come_in_before_the_others_are_finished(folder, weights, monkeypatch):
    """8 rows for 48 jobs; every fourth token ends an answer. Each admission finds others still under way."""
    admitted = []
    admit = generation.Generation._admit

    def watched(self):
        admitted.append(len(self._row_B))
        return admit(self)

    monkeypatch.setattr(generation.Generation, "_admit", watched)
    tokenizer = ended_by(*range(0, 263, 4))(folder)
    wide, narrow = NativeEngine(folder, tokenizer), NativeEngine(folder, tokenizer, max_batch_sequences=8)
    for engine in (wide, narrow):
        engine.load_weights(weights.items())
    sampling = replace(SAMPLING, samples_per_prompt=12)
    expected = by_place(wide, PROMPTS, sampling)
    assert len(admitted) == 1
    found = by_place(narrow, PROMPTS, sampling)
    assert sum(under_way > 0 for under_way in admitted) > 10
    assert found.keys() == expected.keys()
    for place, completion in found.items():
        assert np.array_equal(completion.token_ids, expected[place].token_ids)
        assert np.array_equal(completion.logprobs, expected[place].logprobs)  # bit for bit: company changes nothing


def test_a_prompt_is_read_once_even_if_its_samples_come_in_at_several_times(folder, weights, monkeypatch):
    read = []
    read_prompts = generation.read_prompts
    monkeypatch.setattr(generation, "read_prompts", lambda *given: read.extend(given[2]) or read_prompts(*given))
    engine = NativeEngine(folder, Tokenizer.load(folder), max_batch_sequences=5)
    engine.load_weights(weights.items())
    by_place(engine, PROMPTS, replace(SAMPLING, samples_per_prompt=12))
    assert read == [one.token_ids for one in PROMPTS]


def test_nothing_to_do_gives_nothing(folder, weights):
    engine = NativeEngine(folder, Tokenizer.load(folder))
    engine.load_weights(weights.items())
    assert list(engine.generate([], SAMPLING)) == []


def test_without_a_compiler_transformers_does_the_work_and_the_log_says_so(folder, tokenizer, monkeypatch, caplog):
    monkeypatch.setenv("CC", "no-such-compiler")
    monkeypatch.setattr(kernels, "COMPILERS", ())
    kernels.compiled.cache_clear()
    with pytest.raises(RolloutError, match=r"needs a C compiler.*no-such-compiler.*rollout=transformers"):
        NativeEngine(folder, tokenizer)
    with caplog.at_level(logging.WARNING):
        assert isinstance(native_or_transformers(folder, tokenizer), TransformersEngine)
    assert "several times slower" in caplog.text
    assert "no-such-compiler" in caplog.text


def test_on_a_gpu_transformers_does_the_work(folder, tokenizer):
    engine = native_or_transformers(folder, tokenizer, "meta", max_batch_sequences=3)  # any device but the CPU
    assert isinstance(engine, TransformersEngine)


def test_a_model_that_neither_engine_can_run_is_refused(tmp_path, tokenizer):
    sliding = {"use_sliding_window": True, "sliding_window": 16, "max_window_layers": 0}
    folder = tiny_hf_folder(tmp_path / "sliding", "qwen2", **sliding)
    with pytest.raises(WeightsError, match="sliding"):
        native_or_transformers(folder, tokenizer)
    with pytest.raises(WeightsError):
        native_or_transformers(tmp_path / "nothing", tokenizer)
