"""The transformers engine on a CUDA device: steps are replayed, compute the same, and are faster for it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from tests.rollout.stand_ins import by_place, prompt, scored
from tests.tiny_models import tiny_hf_folder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
SAMPLING = SamplingParams(8, max_response_tokens=200, context_tokens=256, temperature=1.2, seed=5)
PROMPTS = [prompt(f"p{length}", length=length) for length in (4, 9, 15, 40)]


def engine_on_gpu(folder: Path, **knobs: object) -> TransformersEngine:
    engine = TransformersEngine(folder, Tokenizer.load(folder), "cuda", **knobs)  # type: ignore[arg-type]
    engine.load_weights(load_file(folder / "model.safetensors").items())
    return engine


@pytest.mark.parametrize(("family", "tied"), [("qwen2", True), ("qwen3", False), ("llama", False)])
@pytest.mark.parametrize(("dtype", "tolerance"), [("fp32", 1e-3), ("bf16", 0.1)])
def test_replayed_steps_give_the_logprobs_of_one_plain_forward_pass(
    family: str, tied: bool, dtype: str, tolerance: float, tmp_path: Path
) -> None:
    from transformers import AutoModelForCausalLM

    folder = tiny_hf_folder(tmp_path, family, tied)
    engine = engine_on_gpu(folder, dtype=dtype)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = {one.uid: one.token_ids for one in PROMPTS}
    completions = by_place(engine, PROMPTS, SAMPLING)
    assert engine._fixed is not None and engine._fixed.captured > 0
    for (uid, _), completion in completions.items():
        expected = scored(model, ids[uid], completion.token_ids, SAMPLING.temperature)
        assert (torch.from_numpy(completion.logprobs) - expected).abs().max() < tolerance


def test_graphs_outlive_a_refit_and_replay_the_new_weights(tmp_path: Path) -> None:
    folder = tiny_hf_folder(tmp_path / "one")
    other = load_file(tiny_hf_folder(tmp_path / "other", seed=1) / "model.safetensors")
    engine = engine_on_gpu(folder)
    before = by_place(engine, PROMPTS, SAMPLING)
    captured = engine._fixed.captured  # type: ignore[union-attr]
    engine.load_weights(other.items())
    after = by_place(engine, PROMPTS, SAMPLING)
    assert engine._fixed.captured >= captured  # type: ignore[union-attr]
    assert any(before[place].token_ids.tolist() != after[place].token_ids.tolist() for place in before)
    fresh = engine_on_gpu(folder)
    fresh.load_weights(other.items())
    for place, completion in by_place(fresh, PROMPTS, SAMPLING).items():
        assert completion.token_ids.tolist() == after[place].token_ids.tolist()


def test_a_release_gives_back_what_generation_alone_needs(tmp_path: Path) -> None:
    folder = tiny_hf_folder(tmp_path)
    engine = engine_on_gpu(folder)
    by_place(engine, PROMPTS, SAMPLING)
    torch.cuda.empty_cache()
    during = torch.cuda.memory_allocated()
    engine.release()
    assert torch.cuda.memory_allocated() < during


def test_replayed_steps_are_at_least_twice_as_fast_as_launched_ones(tmp_path: Path) -> None:
    """A model of 24 layers, 32 rows: launching its kernels one by one is what takes the time."""
    folder = tiny_hf_folder(tmp_path, layers=24, hidden_size=256, ffn_size=512)
    seconds = {}
    for fixed in (True, False):
        engine = engine_on_gpu(folder, dtype="bf16", fixed_shapes=fixed)
        for _ in range(2):  # the first time graphs are made
            begun = time.perf_counter()
            tokens = sum(completion.length for completion in by_place(engine, PROMPTS, SAMPLING).values())
            torch.cuda.synchronize()
            seconds[fixed] = (time.perf_counter() - begun) / tokens
    print(f"tokens a second: {1 / seconds[True]:.0f} replayed, {1 / seconds[False]:.0f} launched")
    assert seconds[True] < 0.5 * seconds[False]
