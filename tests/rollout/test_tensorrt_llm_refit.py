"""The TensorRT-LLM engine on the contract double: the refit, memory, and what befalls an engine; every trap on record.

A test shows the trap on the bare library first, so that it can't be passed by a double without it.
"""

import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from nemo_prorl.errors import EngineFailedError, RolloutError, WeightsError
from nemo_prorl.rollout.renewable_engine import RenewableEngine
from nemo_prorl.rollout.tensorrt_llm import engine as module
from tests.rollout.asked import prompts, tokens
from tests.rollout.trtllm_double import VERSIONS, doubled
from tests.rollout.trtllm_double.asked import SAMPLING, answers, events, loop_of
from tests.tiny_models import tiny_hf_folder

# -- the refit --------------------------------------------------------------------------------------------------------


def shaken(weights, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return {name: tensor + 0.1 * torch.randn(tensor.shape, generator=generator) for name, tensor in weights.items()}


@pytest.mark.parametrize("version", VERSIONS)
def test_a_refit_is_whole_and_forgets_old_prompts(version, start, weights):
    """Weights count once they were processed; a prompt that was read before is read again with the new ones."""
    with doubled(version):
        fresh, engine = start(load=False, releases="nothing"), start()  # memory is freed for a whole process
        answers(engine, prompts(3))
        engine.load_weights(shaken(weights).items())
        fresh.load_weights(shaken(weights).items())
        new, expected = answers(engine, prompts(3)), answers(fresh, prompts(3))
        assert tokens(new) == tokens(expected)
        for place, completion in new.items():
            assert np.allclose(completion.logprobs, expected[place].logprobs, atol=1e-5)


def test_old_prompts_would_be_remembered(library, start, weights):
    """The trap of the test above: the prefix cache outlives the weights."""
    fresh, engine = start(load=False, releases="nothing"), start()
    answers(engine, prompts(3))
    loop_of(engine).reset_prefix_cache = lambda: None
    engine.load_weights(shaken(weights).items())
    fresh.load_weights(shaken(weights).items())
    assert tokens(answers(engine, prompts(3))) != tokens(answers(fresh, prompts(3)))


def test_weights_come_in_buckets_and_a_large_tensor_alone(library, tmp_path, tokenizer, start):
    """In buckets of 1 MiB a tensor of 2 MiB comes alone."""
    wide = tiny_hf_folder(tmp_path / "wide", vocabulary_size=16_384)
    engine, seen = start(wide, load=False), len(events())
    engine.load_weights(load_file(wide / "model.safetensors").items())
    sizes = [int(event.split()[1]) for event in events()[seen:] if event.startswith("reload")]
    assert 1 in sizes and len(sizes) >= 2
    assert sum(sizes) == len(load_file(wide / "model.safetensors"))


def test_names_are_counted_since_the_library_skips_what_it_does_not_know(library, folder, weights, start):
    bare = library.LLM(str(folder))
    model, loader = bare._executor.engine.model_engine.model, bare._executor.engine.model_engine.model_loader
    with bare._executor.engine.control_action():
        loader.reload(model, {"model.layers.0.self_attn.q_porj.weight": torch.zeros(3)}, allow_partial_loading=True)
    bare.shutdown()
    engine = start()
    misspelled = {name.replace("q_proj", "q_porj"): tensor for name, tensor in weights.items()}
    with pytest.raises(WeightsError, match=r"4 missing: .*q_proj.*4 unknown: .*q_porj"):
        engine.load_weights(misspelled.items())
    with pytest.raises(RolloutError, match="no weights"):
        engine.generate(prompts(3), SAMPLING)
    engine.load_weights(weights.items())
    assert answers(engine, prompts(3))


def test_untied_models_need_their_output_layer_and_tied_ones_do_not(library, tmp_path, tokenizer, start, weights):
    """Left out, it would keep values that mean nothing, without a word."""
    untied = tiny_hf_folder(tmp_path / "untied", tied=False)
    own = load_file(untied / "model.safetensors")
    with pytest.raises(WeightsError, match=r"1 missing: lm_head.weight"):
        start(untied, load=False).load_weights((n, t) for n, t in own.items() if n != "lm_head.weight")
    start(load=False).load_weights([*weights.items(), ("lm_head.weight", weights["model.embed_tokens.weight"])])


def test_a_refit_waits_for_answers_under_way(library, folder, weights, start):
    """Under a running loop an answer would be of two policies."""
    bare = library.LLM(str(folder))
    engine = bare._executor.engine
    with pytest.raises(RuntimeError, match="while its loop runs"):
        engine.model_engine.model_loader.reload(engine.model_engine.model, {}, allow_partial_loading=True)
    bare.shutdown()
    ours = start()
    sampled = ours.generate(prompts(3), replace(SAMPLING, samples_per_prompt=16))
    first = next(sampled)
    ours.load_weights(shaken(weights).items())
    of_old_weights = [first, *sampled]
    ours.load_weights(weights.items())
    again = answers(ours, prompts(3), replace(SAMPLING, samples_per_prompt=16))
    assert {s.sample: s.completion.token_ids.tolist() for s in of_old_weights} == {
        sample: completion.token_ids.tolist() for (_, sample), completion in again.items()
    }


@pytest.mark.parametrize("version", VERSIONS)
def test_an_engine_that_failed_in_a_refit_is_never_used_again(version, start, weights):
    """Its weights are of two policies. The stream is taken to its end all the same: other ranks take part in it."""
    with doubled(version):
        engine = start()
        engine._weights._bucket_bytes = 1  # so that much of the stream is still to come when it fails
        loop_of(engine).model_engine.model_loader.fails_at = "model.layers.0.self_attn.q_proj.weight"
        stream = iter(weights.items())
        with pytest.raises(EngineFailedError, match=r"out of memory; .*of two policies"):
            engine.load_weights(stream)
        assert next(stream, None) is None
        loop_of(engine).model_engine.model_loader.fails_at = None
        with pytest.raises(RolloutError, match="of two policies"):
            engine.load_weights(weights.items())
        with pytest.raises(RolloutError, match="no weights"):
            engine.generate(prompts(3), SAMPLING)
        assert ("abort_update_weights" in events()) == (version == VERSIONS[-1])


def test_a_stream_that_fails_is_no_fault_of_the_engine(library, start, weights):
    def broken():
        yield from list(weights.items())[:3]
        raise WeightsError("another rank is gone")

    engine = start()
    with pytest.raises(WeightsError, match="another rank"):
        engine.load_weights(broken())
    engine.load_weights(weights.items())
    assert answers(engine, prompts(3))


# -- memory -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("releases", ["nothing", "cache", "cache_and_weights"])
def test_memory_comes_back_in_order_weights_refit_cache(version, releases, start, weights):
    """The cache is the larger part and must not be there while weights stand twice."""
    with doubled(version):
        engine = start(releases=releases)
        expected = tokens(answers(engine, prompts(3)))
        seen = len(events())
        engine.release()
        engine.release()
        engine.load_weights(weights.items())
        assert tokens(answers(engine, prompts(3))) == expected
        weights_tag = "model_weights" if version == VERSIONS[-1] else "model"
        tags = {"nothing": [], "cache": ["kv_cache"], "cache_and_weights": ["kv_cache", weights_tag]}[releases]
        happened = [event for event in events()[seen:] if event.split()[0] in ("free", "take", "reload")]
        refit = [event for event in happened if event.startswith("reload")]
        assert happened == [
            *[f"free {tag}" for tag in tags],
            *[f"take {tag}" for tag in tags[1:]],
            *refit,
            *[f"take {tag}" for tag in tags[:1]],
        ]


def test_memory_that_the_trainer_has_not_left_is_told_with_what_to_lower(library, start, weights, monkeypatch):
    from tensorrt_llm._torch import virtual_memory

    def full(*tags):
        raise RuntimeError("CUDA out of memory")

    engine = start(load=False)
    monkeypatch.setattr(virtual_memory, "materialize_with_tag", full)
    with pytest.raises(RolloutError, match=r"can't take memory for kv_cache: .*out of memory.*megatron\.offload"):
        engine.load_weights(weights.items())
    with pytest.raises(RolloutError, match="no weights"):
        engine.generate(prompts(3), SAMPLING)
    monkeypatch.undo()


def test_prompts_are_forgotten_before_their_cache_is_freed(library, start):
    """The index of prompts outlives what it points to."""
    engine, seen = start(), len(events())
    answers(engine, prompts(3))
    engine.release()
    happened = events()[seen:]
    assert happened.index("reset_prefix_cache") < happened.index("free kv_cache")


def test_nothing_is_generated_while_memory_is_with_the_trainer(library, start):
    """The library would read memory that isn't its own any more."""
    engine = start()
    engine.release()
    with pytest.raises(RolloutError, match="call load_weights first"):
        engine.generate(prompts(3), SAMPLING)
    with pytest.raises(RuntimeError, match="illegal memory access"):
        engine._llm.generate([20, 21, 22])


# -- what befalls an engine -------------------------------------------------------------------------------------------


def test_an_engine_that_dies_is_told_with_its_own_words(library, start):
    engine = start()
    sampled = engine.generate(prompts(3, 5), replace(SAMPLING, samples_per_prompt=32))
    next(sampled)
    loop_of(engine).dies_of = RuntimeError("CUDA error: device-side assert")
    with pytest.raises(EngineFailedError, match="device-side assert"):
        list(sampled)
    with pytest.raises(RolloutError, match="has died"):
        answers(engine, prompts(3))


@pytest.mark.parametrize("befalls", ["it dies", "a refit fails"])
def test_an_engine_that_failed_is_made_anew_once_it_is_asked_for(befalls, library, start, weights):
    """By what stands around engines in a run: the same answers as if nothing had happened."""
    engine = RenewableEngine(lambda: start(load=False))
    engine.load_weights(weights.items())
    expected = tokens(answers(engine, prompts(3)))
    if befalls == "it dies":
        loop_of(engine._engine).dies_of = RuntimeError("CUDA error")
    else:
        loop_of(engine._engine).model_engine.model_loader.fails_at = "model.norm.weight"
        engine.load_weights(weights.items())
    with pytest.raises(EngineFailedError):
        answers(engine, prompts(3))
    engine.release()  # as in a run, once more before the new one
    engine.load_weights(weights.items())
    assert "waits for ever" not in events()
    engine.renew_if_failed()
    engine.load_weights(weights.items())
    assert tokens(answers(engine, prompts(3))) == expected


def test_an_engine_that_hangs_is_given_up(library, start, monkeypatch):
    monkeypatch.setattr(module, "SECONDS_TO_ABORT", 0.2)
    engine = start(silent_minutes=0.2 / 60)
    loop_of(engine).stalls = True
    with pytest.raises(EngineFailedError, match=r"finished no completion for 0\.2 s.*rollout\.silent_minutes"):
        answers(engine, prompts(3))
    loop_of(engine).stalls = False


def test_what_nobody_waits_for_is_taken_back(library, start):
    """Closing the iterator ends requests under way, so that a refit doesn't wait for them.

    Each has ended before its event loop has: the library dies of telling a loop that is gone.
    """
    engine, requests = start(max_batch_sequences=2), []
    ask = engine._llm.generate_async

    def noted(*arguments):
        requests.append(ask(*arguments))
        return requests[-1]

    engine._llm.generate_async = noted
    sampled = engine.generate(prompts(3), replace(SAMPLING, samples_per_prompt=64))
    next(sampled)
    sampled.close()
    assert all(request.finished for request in requests)
    assert any(request.aborted() for request in requests)
    assert not any(thread.name == "rollout" for thread in threading.enumerate())
    assert answers(engine, prompts(3))


def test_answers_come_while_others_are_under_way(library, start):
    """Not all at the end: verdicts are computed meanwhile."""
    engine = start(max_batch_sequences=2)
    sampled = engine.generate(prompts(3), replace(SAMPLING, samples_per_prompt=48))
    next(sampled)
    loop = loop_of(engine)
    assert loop._waiting or loop._active  # between two tokens there may be none under way
    sampled.close()


def test_before_its_first_refit_an_engine_has_weights_that_mean_nothing(library, folder, weights, start):
    """The folder's own would hide a tensor that never comes, until the policy has moved away from them."""
    held = dict(loop_of(start(load=False)).model_engine.model.named_parameters())
    assert not any(torch.equal(held[name], tensor) for name, tensor in weights.items() if "norm" not in name)
