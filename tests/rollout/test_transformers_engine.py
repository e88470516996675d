"""What the transformers engine does beyond the contract of every engine (tests/contracts/test_rollout_engine.py)."""

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
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from tests.rollout.stand_ins import prompt
from tests.tiny_models import tiny_hf_folder

SAMPLING = SamplingParams(3, max_response_tokens=24, context_tokens=64, temperature=1.2, seed=5)
PROMPTS = [prompt("a", length=4), prompt("b", length=9), prompt("c", length=4), prompt("d", length=15)]


def by_place(engine, prompts=PROMPTS, sampling=SAMPLING):
    return {(prompts[p].uid, sample): completion for p, sample, completion in engine.generate(prompts, sampling)}


def scored(model, prompt_ids, token_ids, temperature):
    """Logprobs of a response by one plain forward pass of transformers, no cache and no padding, [T]."""
    row = torch.tensor([[*prompt_ids, *token_ids]])
    with torch.no_grad():
        logp = torch.log_softmax(model(row).logits[0].float() / temperature, dim=-1)
    start = len(prompt_ids)
    return logp[start - 1 : -1].gather(1, row[0, start:, None])[:, 0]


@pytest.mark.parametrize(("family", "tied"), [("qwen2", True), ("qwen2", False), ("qwen3", True), ("llama", False)])
def test_logprobs_are_those_of_one_plain_forward_pass(tmp_path, family, tied):
    """Left padding, shared prompts, a growing cache and rows that leave change nothing (float32, within 1e-5)."""
    folder = tiny_hf_folder(tmp_path, family, tied)
    engine = TransformersEngine(folder, Tokenizer.load(folder), "cpu")
    engine.load_weights(load_file(folder / "model.safetensors").items())
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    prompt_ids = {one.uid: one.token_ids for one in PROMPTS}
    for (uid, _), completion in by_place(engine).items():
        expected = scored(model, prompt_ids[uid], completion.token_ids, SAMPLING.temperature)
        assert_close(torch.from_numpy(completion.logprobs), expected, atol=1e-5, rtol=0)


def test_the_same_call_gives_the_same_bits(engine):
    first, second = by_place(engine), by_place(engine)
    for place, completion in first.items():
        assert np.array_equal(completion.token_ids, second[place].token_ids)
        assert np.array_equal(completion.logprobs, second[place].logprobs)


@pytest.mark.parametrize("rows", [1, 5, 7])
def test_the_size_of_a_batch_changes_no_token(folder, tokenizer, weights, engine, rows):
    small = TransformersEngine(folder, tokenizer, "cpu", max_batch_sequences=rows)
    small.load_weights(weights.items())
    expected = by_place(engine)
    for place, completion in by_place(small).items():
        assert np.array_equal(completion.token_ids, expected[place].token_ids)


def test_finished_rows_leave_and_the_others_go_on_undisturbed(folder, tokenizer, weights):
    """Every fourth token ends an answer here, so that rows leave at nearly every step."""
    tokenizer = Tokenizer.load(folder)
    tokenizer.stop_ids = tuple(range(0, 263, 4))
    engine = TransformersEngine(folder, tokenizer, "cpu")
    engine.load_weights(weights.items())
    sampling = replace(SAMPLING, samples_per_prompt=16)
    together = by_place(engine, sampling=sampling)
    assert len({len(completion.token_ids) for completion in together.values()}) > 5
    for one in PROMPTS:
        for place, completion in by_place(engine, [one], sampling).items():
            assert np.array_equal(completion.token_ids, together[place].token_ids)


def test_a_prompt_is_computed_once_for_all_its_samples(engine):
    read = []
    engine._model.register_forward_pre_hook(
        lambda _, args, kwargs: read.append(kwargs["input_ids"].shape), with_kwargs=True
    )
    by_place(engine)
    assert read[0] == (4, 15)
    assert max(rows for rows, columns in read[1:]) == 12


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


def test_a_tied_head_may_come_or_not_but_an_untied_one_must(engine, weights, tmp_path):
    engine.load_weights({**weights, "lm_head.weight": weights["model.embed_tokens.weight"]}.items())
    folder = tiny_hf_folder(tmp_path, "qwen2", tied=False)
    untied = TransformersEngine(folder, Tokenizer.load(folder), "cpu")
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


def test_only_the_config_of_the_folder_is_read(folder, tokenizer, tmp_path):
    (tmp_path / "config.json").write_bytes((folder / "config.json").read_bytes())
    TransformersEngine(tmp_path, tokenizer, "cpu")


def test_building_the_model_leaves_torch_random_numbers_alone(folder, tokenizer):
    before = torch.random.get_rng_state()
    TransformersEngine(folder, tokenizer, "cpu")
    assert torch.equal(torch.random.get_rng_state(), before)


def test_a_folder_without_a_config_is_refused(tmp_path, tokenizer):
    with pytest.raises(WeightsError, match=r"model\.path must be a folder with the config\.json"):
        TransformersEngine(tmp_path, tokenizer, "cpu")


def test_sliding_windows_are_refused(tmp_path, tokenizer):
    folder = tiny_hf_folder(tmp_path, "qwen2", use_sliding_window=True, sliding_window=16, max_window_layers=0)
    with pytest.raises(WeightsError, match="sliding-window"):
        TransformersEngine(folder, tokenizer, "cpu")


def test_a_consumer_between_two_completions_may_train(engine):
    """Inference mode ends before a completion is handed out."""
    for _ in engine.generate(PROMPTS, SAMPLING):
        assert not torch.is_inference_mode_enabled()
        assert torch.is_grad_enabled()
