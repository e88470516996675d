"""The TensorRT-LLM engine on the contract double: arguments, sampling, endings, logprobs; every trap on record.

A test shows the trap on the bare library first, so that it can't be passed by a double without it.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch

from nemo_prorl.errors import RolloutError
from tests.rollout.asked import prompts, tokens
from tests.rollout.trtllm_double import VERSIONS, doubled
from tests.rollout.trtllm_double.asked import SAMPLING, answers, loop_of
from tests.tiny_models import tiny_hf_folder

PROMPT = tuple(range(20, 26))


# -- arguments --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_each_version_takes_the_arguments_it_is_given(version, start):
    """An argument of another version is refused: 1.2 knows no sleep_config, late 1.3 no enable_sleep."""
    with doubled(version) as library:
        other = {"enable_sleep": True} if version == VERSIONS[-1] else {"sleep_config": None}
        with pytest.raises(ValueError, match="got invalid argument"):
            library.LLM("anywhere", **other)
        assert tokens(answers(start(), prompts(3)))


def test_a_version_without_what_the_engine_needs_is_refused_by_name(library, folder):
    from nemo_prorl.rollout.tensorrt_llm.library import Library

    with pytest.raises(RolloutError, match=r"TensorRT-LLM 1\.2\.1 takes no quant_config.*1\.2 to 1\.3"):
        Library.load().start({"model": str(folder), "quant_config": {}})


def test_a_prompt_beyond_the_librarys_input_limit_is_read(library, tmp_path, tokenizer, start):
    """Unless it is told otherwise, the library refuses more than 1024 tokens."""
    roomy = tiny_hf_folder(tmp_path / "roomy", max_position_embeddings=2048)
    asked = [replace(prompts(3)[0], token_ids=tuple(i % 200 for i in range(1500)))]
    bare = library.LLM(str(roomy))
    with pytest.raises(ValueError, match="max_input_len"):
        bare.generate(list(asked[0].token_ids))
    bare.shutdown()
    sampling = replace(SAMPLING, samples_per_prompt=1, max_response_tokens=4, context_tokens=2048)
    assert len(answers(start(roomy), asked, sampling)["0-3", 0].token_ids) <= 4


def test_a_sequence_beyond_the_engines_own_limit_is_refused_by_name(library, start):
    engine = start(max_sequence_tokens=32)
    with pytest.raises(RolloutError, match=r"'0-20' .* may have 60 tokens.* started for 32; raise rollout.max_seq"):
        list(engine.generate(prompts(20), SAMPLING))


# -- sampling ---------------------------------------------------------------------------------------------------------


def test_answers_are_drawn_and_as_long_as_they_may_be(library, folder, start):
    """Without parameters the library is greedy and ends after 32 tokens."""
    bare = library.LLM(str(folder))
    outputs = [bare.generate(list(PROMPT)).outputs[0] for _ in range(2)]
    assert outputs[0].token_ids == outputs[1].token_ids and len(outputs[0].token_ids) == 32
    bare.shutdown()
    drawn = answers(start(), [replace(prompts(6)[0], token_ids=PROMPT)], replace(SAMPLING, samples_per_prompt=16))
    assert len({tuple(ids) for ids in tokens(drawn).values()}) == 16
    assert max(completion.length for completion in drawn.values()) == 40


@pytest.mark.parametrize("n", [1, 5])
def test_greedy_is_greedy_for_any_number_of_samples(library, start, n):
    """The library refuses several greedy samples of one request."""
    with pytest.raises(ValueError, match="Greedy"):
        library.SamplingParams(n=2, temperature=0.0)
    greedy = answers(start(), prompts(3), replace(SAMPLING, samples_per_prompt=n, temperature=0.0))
    assert len({tuple(ids) for ids in tokens(greedy).values()}) == 1


def test_samples_have_streams_of_their_own(library, folder, start):
    """Requests without a seed all have seed 0, so that samples of a prompt are copies of each other."""
    bare = library.LLM(str(folder), sampler_type="TRTLLMSampler")
    drawn = library.SamplingParams(temperature=1.0, top_p=1.0, top_k=0, max_tokens=12)
    copies = [output.outputs[0].token_ids for output in bare.generate([list(PROMPT)] * 3, drawn)]
    assert copies[0] == copies[1] == copies[2]
    bare.shutdown()
    engine = start()
    first = tokens(answers(engine, prompts(3)))
    assert len({tuple(ids) for ids in first.values()}) == 4
    assert tokens(answers(engine, prompts(3))) == first  # and they come again


@pytest.mark.parametrize("version", VERSIONS)
def test_torch_sampler_draws_by_seed_from_late_1_3_on(version, start):
    """Before, all requests share one stream that begins anew with the process: no rank and no resumed run gets the
    samples that its seeds say. `prorl doctor rollout` tells."""
    with doubled(version):
        engine = start(sampler="TorchSampler")
        is_repeatable = tokens(answers(engine, prompts(3))) == tokens(answers(engine, prompts(3)))
        assert is_repeatable == (version == VERSIONS[-1])


# -- how an answer ends -----------------------------------------------------------------------------------------------


def stopping_prompt(engine, tokenizer, sampling):
    """A sample that ends by itself."""
    found = answers(engine, prompts(3), replace(sampling, samples_per_prompt=64))
    return next((n, c) for (_, n), c in found.items() if c.finish_reason == "stop" and c.length > 1)


def test_the_end_token_stays_and_has_its_logprob(library, folder, tokenizer, start):
    """A stop token is taken off the tokens, and its logprob stays: from there on, all are one off."""
    engine = start()
    sample, ended = stopping_prompt(engine, tokenizer, SAMPLING)
    assert ended.token_ids[-1] in tokenizer.stop_ids and len(ended.logprobs) == ended.length
    bare = library.LLM(str(folder), load_format="auto", sampler_type="TRTLLMSampler")
    params = library.SamplingParams(
        temperature=1.0, top_p=1.0, top_k=0, max_tokens=40, logprobs=1, end_id=-1, stop_token_ids=[tokenizer.end_id]
    )
    params.seed = SAMPLING.completion_seed("0-3", sample) >> 1
    output = bare.generate(list(prompts(3)[0].token_ids), params).outputs[0]
    assert output.token_ids == ended.token_ids.tolist()[:-1] and len(output.logprobs) == ended.length
    bare.shutdown()


def test_an_end_token_in_the_last_place_is_an_end(library, tokenizer, start):
    """The library looks at the length first and calls it "length", as if the model had been cut."""
    engine = start()
    sample, ended = stopping_prompt(engine, tokenizer, SAMPLING)
    just_enough = replace(SAMPLING, samples_per_prompt=64, max_response_tokens=ended.length)
    outputs = []
    ask = engine._ask

    async def watched(job, parameters):
        output = await ask(job, parameters)
        if job.sample == sample:
            outputs.append(output)
        return output

    engine._ask = watched
    same = answers(engine, prompts(3), just_enough)["0-3", sample]
    assert outputs[0].finish_reason == "length"
    assert same.token_ids.tolist() == ended.token_ids.tolist() and same.finish_reason == "stop"


def test_a_request_that_is_given_up_is_made_again(library, start):
    """Its partial answer says nothing about the model."""
    engine = start()
    expected = tokens(answers(engine, prompts(3)))
    loop_of(engine).gives_up = 2
    assert tokens(answers(engine, prompts(3))) == expected
    loop_of(engine).gives_up = 1000
    with pytest.raises(RolloutError, match=r"gave up prompt 0, sample \d, 3 times \(cancelled\)"):
        answers(engine, prompts(3))
    loop_of(engine).gives_up = 0


# -- logprobs ---------------------------------------------------------------------------------------------------------


def expected_logprobs(folder, completion, temperature):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = prompts(3)[0].token_ids
    with torch.no_grad():
        logits = model(torch.tensor([[*ids, *completion.token_ids]])).logits[0, len(ids) - 1 : -1]
    chosen = torch.from_numpy(completion.token_ids).long()[:, None]
    return torch.log_softmax(logits / temperature, -1).gather(1, chosen)[:, 0].numpy()


@pytest.mark.parametrize("temperature", [1.0, 1.2])
@pytest.mark.parametrize("sampler", ["TRTLLMSampler", "TorchSampler"])
@pytest.mark.parametrize("version", VERSIONS)
def test_logprobs_are_those_of_the_drawn_token_at_the_temperature(version, sampler, temperature, folder, start):
    """TorchSampler names the likeliest token first, and knows no temperature unless it is asked for "processed" ones.

    Where a version can't be asked, there are none rather than wrong ones.
    """
    with doubled(version):
        given = answers(start(sampler=sampler), prompts(3), replace(SAMPLING, temperature=temperature))["0-3", 0]
        if (version, sampler, temperature) == ("1.2.1", "TorchSampler", 1.2):
            assert given.logprobs is None
        else:
            assert np.abs(given.logprobs - expected_logprobs(folder, given, temperature)).max() < 1e-4


def test_that_there_are_no_logprobs_is_said_once(library, start, caplog):
    engine = start(sampler="TorchSampler")
    for _ in range(2):
        answers(engine, prompts(3), replace(SAMPLING, temperature=1.2))
    assert [record.message for record in caplog.records if "gives no logprobs" in record.message] != []
    assert sum("gives no logprobs" in record.message for record in caplog.records) == 1
