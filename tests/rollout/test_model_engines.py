"""What engines that compute a model themselves do beyond the contract of every engine (tests/contracts)."""

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
from nemo_prorl.rollout import fixed_shapes
from nemo_prorl.rollout.native.engine import NativeEngine
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from tests.rollout.stand_ins import by_place, prompt, scored
from tests.tiny_models import tiny_hf_folder

SAMPLING = SamplingParams(3, max_response_tokens=24, context_tokens=64, temperature=1.2, seed=5)
PROMPTS = [prompt("a", length=4), prompt("b", length=9), prompt("c", length=4), prompt("d", length=15)]


class FixedShapesEngine(TransformersEngine):
    """As on a GPU, but for the graphs: at shapes so small that batches and answers outgrow them."""

    def __init__(self, *arguments, **knobs):
        super().__init__(*arguments, fixed_shapes=True, **knobs)


@pytest.fixture(autouse=True)
def small_shapes(monkeypatch):
    monkeypatch.setattr(fixed_shapes, "FEWEST_ROWS", 2)
    monkeypatch.setattr(fixed_shapes, "FEWEST_COLUMNS", 8)


@pytest.fixture(params=[NativeEngine, TransformersEngine, FixedShapesEngine])
def engine_class(request):
    return request.param


@pytest.fixture
def engine(engine_class, folder, tokenizer, weights):
    loaded = engine_class(folder, tokenizer)
    loaded.load_weights(weights.items())
    return loaded


@pytest.mark.parametrize(("family", "tied"), [("qwen2", True), ("qwen2", False), ("qwen3", True), ("llama", False)])
def test_logprobs_are_those_of_one_plain_forward_pass(engine_class, tmp_path, family, tied):
    """Padding, shared prompts, a growing cache and rows that leave change nothing (float32, within 1e-5)."""
    folder = tiny_hf_folder(tmp_path, family, tied)
    engine = engine_class(folder, Tokenizer.load(folder))
    engine.load_weights(load_file(folder / "model.safetensors").items())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt_ids = {one.uid: one.token_ids for one in PROMPTS}
    for (uid, _), completion in by_place(engine, PROMPTS, SAMPLING).items():
        expected = scored(model, prompt_ids[uid], completion.token_ids, SAMPLING.temperature)
        assert_close(torch.from_numpy(completion.logprobs), expected, atol=1e-5, rtol=0)


def test_the_same_call_gives_the_same_bits(engine):
    first, second = by_place(engine, PROMPTS, SAMPLING), by_place(engine, PROMPTS, SAMPLING)
    for place, completion in first.items():
        assert np.array_equal(completion.token_ids, second[place].token_ids)
        assert np.array_equal(completion.logprobs, second[place].logprobs)


@pytest.mark.parametrize("rows", [1, 5, 7])
def test_the_size_of_a_batch_changes_no_token(engine_class, folder, tokenizer, weights, engine, rows):
    small = engine_class(folder, tokenizer, max_batch_sequences=rows)
    small.load_weights(weights.items())
    expected = by_place(engine, PROMPTS, SAMPLING)
    for place, completion in by_place(small, PROMPTS, SAMPLING).items():
        assert np.array_equal(completion.token_ids, expected[place].token_ids)


def test_finished_rows_leave_and_the_others_go_on_undisturbed(engine_class, folder, weights):
    """Every fourth token ends an answer here, so that rows leave at nearly every step."""
    tokenizer = Tokenizer.load(folder)
    tokenizer.stop_ids = tuple(range(0, 263, 4))
    engine = engine_class(folder, tokenizer)
    engine.load_weights(weights.items())
    sampling = replace(SAMPLING, samples_per_prompt=16)
    together = by_place(engine, PROMPTS, sampling)
    assert len({len(completion.token_ids) for completion in together.values()}) > 5
    for one in PROMPTS:
        for place, completion in by_place(engine, [one], sampling).items():
            assert np.array_equal(completion.token_ids, together[place].token_ids)


def test_loading_names_every_tensor_that_does_not_fit(engine, weights):
    broken = dict(weights)
    del broken["model.norm.weight"], broken["model.layers.0.mlp.up_proj.weight"]
    broken["model.layers.1.self_attn.q_proj.bias"] = torch.zeros(3)
    broken["model.layers.7.mlp.up_proj.weight"] = torch.zeros(1)
    with pytest.raises(WeightsError) as refused:
        engine.load_weights(broken.items())
    said = str(refused.value)
    assert "2 missing: model.layers.0.mlp.up_proj.weight, model.norm.weight" in said
    assert "1 unknown: model.layers.7.mlp.up_proj.weight" in said
    assert "model.layers.1.self_attn.q_proj.bias is (3,) instead of (32,)" in said
    with pytest.raises(RolloutError, match="no weights yet"):
        engine.generate(PROMPTS, SAMPLING)


def test_a_tied_head_may_come_or_not_but_an_untied_one_must(engine_class, engine, weights, tmp_path):
    engine.load_weights({**weights, "lm_head.weight": weights["model.embed_tokens.weight"]}.items())
    folder = tiny_hf_folder(tmp_path, "qwen2", tied=False)
    untied = engine_class(folder, Tokenizer.load(folder))
    with pytest.raises(WeightsError, match=r"1 missing: lm_head\.weight"):
        untied.load_weights(weights.items())


def test_a_stream_is_read_to_its_end_even_if_its_first_tensor_is_wrong(engine, weights):
    """Other ranks may be taking part in it."""
    given = []

    def stream():
        yield "nonsense", torch.zeros(1)
        for name, tensor in weights.items():
            given.append(name)
            yield name, tensor

    with pytest.raises(WeightsError, match="1 unknown: nonsense"):
        engine.load_weights(stream())
    assert given == list(weights)


def test_weights_that_are_not_numbers_are_found_at_the_first_token(engine, weights):
    engine.load_weights((name, torch.full_like(tensor, torch.nan)) for name, tensor in weights.items())
    with pytest.raises(RolloutError, match="not finite"):
        list(engine.generate(PROMPTS, SAMPLING))


def test_only_the_config_of_the_folder_is_read(engine_class, folder, tokenizer, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    engine_class(tmp_path, tokenizer)


def test_a_consumer_between_two_completions_may_train(engine):
    """Inference mode ends before a completion is handed out."""
    for _ in engine.generate(PROMPTS, SAMPLING):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
