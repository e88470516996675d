"""What every rollout engine promises, run over the table of engines: a new engine adds its knobs here and no test."""

from contextlib import ExitStack
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import RolloutError, WeightsError
from nemo_prorl.plugins import configured
from nemo_prorl.rollout.engine import ROLLOUT_ENGINES, closed_at_end
from tests.rollout import asked as asked_for
from tests.rollout.asked import prompts, tokens
from tests.rollout.completions_server import completions_server
from tests.rollout.trtllm_double import doubled
from tests.tiny_models import tiny_hf_folder

KNOBS = {
    "native": {},
    "transformers": {},
    "tensorrt_llm": {"dtype": "fp32", "refit_bucket_mib": 1},  # on a contract double of the library
    "openai": {"timeout_minutes": 1},  # of a server around that double
    "scripted": {"answers": ["short", "a rather long answer", "4", "five", "6"]},
}
MODELLESS = {"scripted"}  # engines to which weights mean nothing
SERVED = {"openai"}  # engines that serve what they were started with
NO_LOGPROBS = {"tensorrt_llm": ["cut"], "openai": ["whole", "cut"]}  # at a temperature that isn't 1
WITH_A_MODEL = sorted(set(ROLLOUT_ENGINES) - MODELLESS)
REFITTED = sorted(set(WITH_A_MODEL) - SERVED)
SAMPLING = SamplingParams(4, max_response_tokens=12, context_tokens=64, temperature=1.0, seed=3)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_hf_folder(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def weights(folder):
    return load_file(folder / "model.safetensors")


@pytest.fixture(scope="module")
def make(folder, weights):
    def make_engine(name):
        own = {"base_url": stack.enter_context(completions_server(folder)).url} if name in SERVED else {}
        made = configured({"name": name, **KNOBS[name], **own}, ROLLOUT_ENGINES, "rollout")
        engine = stack.enter_context(
            closed_at_end(made(model_path=folder, tokenizer=Tokenizer.load(folder), device="cpu"))
        )
        if name not in SERVED:
            engine.load_weights(weights.items())
        return engine

    with doubled(), ExitStack() as stack:
        yield make_engine


def answers(engine, asked, sampling=SAMPLING):
    return asked_for.answers(engine, asked, sampling)


def test_every_engine_of_the_table_is_held_to_the_contract():
    assert set(KNOBS) == set(ROLLOUT_ENGINES)


@pytest.mark.parametrize("name", ROLLOUT_ENGINES)
def test_every_sample_of_every_prompt_comes_once(make, name):
    given = [(sampled.prompt, sampled.sample) for sampled in make(name).generate(prompts(3, 7, 3), SAMPLING)]
    assert sorted(given) == [(p, n) for p in range(3) for n in range(4)]


@pytest.mark.parametrize("name", ROLLOUT_ENGINES)
def test_a_completion_says_how_it_ended(make, folder, name):
    """`stop`: the last token, kept, is an end token, and no other is. `length`: none is, and there was no more room."""
    tokenizer = Tokenizer.load(folder)
    for completion in answers(make(name), prompts(3, 7), replace(SAMPLING, samples_per_prompt=64)).values():
        ends = [token in tokenizer.stop_ids for token in completion.token_ids.tolist()]
        assert not any(ends[:-1])
        assert completion.finish_reason == ("stop" if ends[-1] else "length")
        assert ends[-1] or len(ends) == 12
        assert completion.text == tokenizer.decode(completion.token_ids.tolist())


@pytest.mark.parametrize("name", ROLLOUT_ENGINES)
def test_the_context_bounds_prompt_and_response_together(make, name):
    """Room for 64 - 59 = 5 and 64 - 63 = 1 tokens."""
    completions = answers(make(name), prompts(59, 63))
    assert max(len(completions["0-59", n].token_ids) for n in range(4)) <= 5
    assert max(len(completions["1-63", n].token_ids) for n in range(4)) == 1


@pytest.mark.parametrize("name", ROLLOUT_ENGINES)
def test_a_prompt_without_room_is_refused_by_name(make, name):
    with pytest.raises(RolloutError, match=r"'1-64' of 's' has 64 tokens and context_tokens=64.*Raise"):
        list(make(name).generate(prompts(3, 64), SAMPLING))


@pytest.mark.parametrize("name", ROLLOUT_ENGINES)
def test_a_completion_depends_on_seed_prompt_and_sample_not_on_its_company(make, name):
    engine, asked = make(name), prompts(3, 8, 3, 5)
    together = tokens(answers(engine, asked))
    alone = {place: ids for one in asked for place, ids in tokens(answers(engine, [one])).items()}
    assert together == alone == tokens(answers(engine, asked[::-1]))
    fewer = tokens(answers(engine, asked, replace(SAMPLING, samples_per_prompt=2)))
    assert fewer.items() <= together.items()
    assert together != tokens(answers(engine, asked, replace(SAMPLING, seed=4)))


@pytest.mark.parametrize("name", ROLLOUT_ENGINES)
def test_samples_of_a_prompt_differ(make, name):
    assert len({tuple(ids) for ids in tokens(answers(make(name), prompts(3))).values()}) > 1


@pytest.mark.parametrize("name", ROLLOUT_ENGINES)
def test_closing_the_iterator_leaves_a_usable_engine(make, name):
    engine = make(name)
    expected = tokens(answers(engine, prompts(3, 7)))
    started = engine.generate(prompts(3, 7), SAMPLING)
    next(started)
    started.close()
    assert tokens(answers(engine, prompts(3, 7))) == expected


@pytest.mark.parametrize("name", sorted(set(ROLLOUT_ENGINES) - SERVED))
def test_after_release_the_weights_are_loaded_again_and_all_is_as_before(make, weights, name):
    engine = make(name)
    expected = tokens(answers(engine, prompts(3, 7)))
    engine.release()
    engine.load_weights(weights.items())
    assert tokens(answers(engine, prompts(3, 7))) == expected


@pytest.mark.parametrize("name", REFITTED)
def test_new_weights_give_new_answers(make, weights, name):
    engine = make(name)
    before = tokens(answers(engine, prompts(3, 7)))
    generator = torch.Generator().manual_seed(0)
    engine.load_weights((key, w + torch.randn(w.shape, generator=generator)) for key, w in weights.items())
    assert tokens(answers(engine, prompts(3, 7))) != before
    engine.load_weights(weights.items())
    assert tokens(answers(engine, prompts(3, 7))) == before


@pytest.mark.parametrize("name", REFITTED)
def test_incomplete_weights_are_refused_by_name(make, weights, name):
    without = {key: tensor for key, tensor in weights.items() if "layers.1.mlp" not in key}
    with pytest.raises(WeightsError) as refused:
        make(name).load_weights({**without, "one.too.many": torch.zeros(2)}.items())
    for part in ("gate_proj", "up_proj", "down_proj"):
        assert f"model.layers.1.mlp.{part}.weight" in str(refused.value)
    assert "one.too.many" in str(refused.value)


@pytest.mark.parametrize("name", WITH_A_MODEL)
def test_greedy_answers_are_the_models_likeliest_tokens(make, folder, name):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    asked = prompts(3, 7)
    for (uid, _), completion in answers(make(name), asked, replace(SAMPLING, temperature=0.0)).items():
        ids = next(one.token_ids for one in asked if one.uid == uid)
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *completion.token_ids]])).logits[0, len(ids) - 1 : -1]
        assert logits.argmax(-1).tolist() == completion.token_ids.tolist()


@pytest.mark.parametrize("name", WITH_A_MODEL)
@pytest.mark.parametrize("cut", [{}, {"top_k": 50, "top_p": 0.8}], ids=["whole", "cut"])
def test_logprobs_are_taken_at_the_temperature_over_the_whole_vocabulary(make, folder, name, cut):
    """Also when top-k and top-p have narrowed the choice."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    asked = prompts(3, 7)
    for (uid, _), completion in answers(make(name), asked, replace(SAMPLING, temperature=1.2, **cut)).items():
        if ("cut" if cut else "whole") in NO_LOGPROBS.get(name, []):
            assert completion.logprobs is None
            continue
        ids = next(one.token_ids for one in asked if one.uid == uid)
        with torch.no_grad():
            logits = model(torch.tensor([[*ids, *completion.token_ids]])).logits[0, len(ids) - 1 : -1]
        chosen = torch.from_numpy(completion.token_ids).long()[:, None]
        expected = torch.log_softmax(logits / 1.2, dim=-1).gather(1, chosen)[:, 0]
        assert completion.logprobs.dtype == np.float32
        assert np.abs(completion.logprobs - expected.numpy()).max() < 1e-4
