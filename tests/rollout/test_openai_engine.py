"""rollout=openai against a real HTTP server on loopback: one that is right, fails, stalls, or answers nonsense."""

from dataclasses import replace

import numpy as np
import pytest

from nemo_prorl.errors import ConfigError, RolloutError
from nemo_prorl.rollout.openai_engine import OpenAIEngine
from tests.json_server import Say
from tests.rollout.asked import prompts, tokens
from tests.rollout.completions_server import completions_server
from tests.rollout.trtllm_double import VERSIONS, doubled
from tests.rollout.trtllm_double.asked import SAMPLING, answers

LONG = replace(SAMPLING, samples_per_prompt=16)  # so that some end by themselves
FEW = replace(SAMPLING, samples_per_prompt=2, max_response_tokens=6)
# What a server may say that is no completion; `null` stands for what an answer lacks.
NONSENSE = [
    b"<html>Bad gateway</html>",
    b"[]",
    b'{"choices": []}',
    b'{"choices": [{"token_ids": ["a", "b"], "finish_reason": "stop"}]}',
    b'{"choices": [{"token_ids": [5, -7], "finish_reason": "stop"}]}',
    b'{"choices": [{"token_ids": [5], "finish_reason": "cancelled"}]}',
    b'{"choices": [{"token_ids": [5], "finish_reason": "stop", "logprobs": {"token_logprobs": ["x"]}}]}',
]


@pytest.fixture
def server(library, folder):
    with completions_server(folder) as running:
        yield running


@pytest.fixture
def ask(server, folder, tokenizer):
    def asked(sampling=FEW, asked=None, **knobs):
        settings = {"timeout_minutes": 1, "attempts": 3, "first_wait_seconds": 0.01, **knobs}
        engine = OpenAIEngine(folder, tokenizer, base_url=server.url, **settings)
        return answers(engine, prompts(3, 5) if asked is None else asked, sampling)

    return asked


def first_says(say: Say, times: int = 1):
    """The first answers of a server; the others are right."""
    return lambda request, before: say if before < times else None


def changed(server, **changes):
    """Every answer is right but for this."""

    def mischief(request, before):
        completion = server.completion(request)
        completion["choices"][0] |= changes
        return Say.json(completion)

    return mischief


def test_token_ids_and_logprobs_are_those_of_the_engine_behind(server, ask, folder, tokenizer, weights, start):
    """The same model in process: ids go in and come out, nothing is cut anew on the way."""
    ours = answers(start(), prompts(3, 5), FEW)
    served = ask()
    assert tokens(served) == tokens(ours)
    for place, completion in served.items():
        assert np.allclose(completion.logprobs, ours[place].logprobs, atol=1e-5)
    (request, *_) = server.requests
    assert all(isinstance(token, int) for token in request["prompt"])
    assert request["detokenize"] is False and request["include_stop_str_in_output"] is True
    assert request["n"] == 1 and {request["seed"] for request in server.requests} != {request["seed"]}


@pytest.mark.parametrize(("version", "ignore_eos"), [(VERSIONS[0], True), (VERSIONS[0], False), (VERSIONS[-1], False)])
def test_answers_end_with_the_end_token_in_each_version(version, ignore_eos, folder, tokenizer, start):
    with doubled(version), completions_server(folder) as server:
        engine = OpenAIEngine(folder, tokenizer, base_url=server.url, ignore_eos=ignore_eos)
        served = answers(engine, prompts(3), LONG)
        assert tokens(served) == tokens(answers(start(), prompts(3), LONG))
        assert {completion.finish_reason for completion in served.values()} == {"stop", "length"}


def test_a_late_version_that_ignores_all_ends_is_refused(folder, tokenizer):
    """Late 1.3 leaves stop ids aside, too, where ignore_eos is true: `ignore_eos=false` is for it."""
    with doubled(VERSIONS[-1]), completions_server(folder) as server:
        engine = OpenAIEngine(folder, tokenizer, base_url=server.url)
        with pytest.raises(RolloutError, match=r"goes on after an end token"):
            answers(engine, prompts(3), LONG)


@pytest.mark.parametrize("other", [{"temperature": 0.6}, {"top_p": 0.95}, {"temperature": 0.0}])
def test_logprobs_are_left_aside_where_servers_differ(ask, other):
    assert all(completion.logprobs is None for completion in ask(replace(FEW, **other)).values())


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_fails_for_a_while_is_asked_again(server, ask, status):
    expected = ask()
    server.requests.clear()
    server.mischief = first_says(Say(b"busy", status=status, headers={"Retry-After": "0"}), times=2)
    assert tokens(ask()) == tokens(expected)
    assert len(server.requests) == 4 + 2


def test_a_connection_that_breaks_is_made_again(server, ask):
    expected = tokens(ask())
    server.requests.clear()
    half = Say(b"{", headers={"Content-Length": "100", "Connection": "close"})
    server.mischief = first_says(half)
    assert tokens(ask()) == expected


def test_a_server_that_stalls_is_given_up_after_its_attempts(server, ask):
    """One that says a byte now and then does not get around it."""
    server.mischief = lambda request, before: Say(b"{" * 500, drip_seconds=0.05)
    with pytest.raises(RolloutError, match=r"prompt \d, sample \d: no answer: TimeoutError.*\(2 attempts\)"):
        ask(timeout_minutes=0.2 / 60, attempts=2)


@pytest.mark.parametrize("body", NONSENSE, ids=range(len(NONSENSE)))
def test_nonsense_is_asked_again_and_is_an_error_when_it_stays(server, ask, body):
    expected = tokens(ask())
    server.requests.clear()
    server.mischief = first_says(Say(body))
    assert tokens(ask()) == expected
    server.mischief = first_says(Say(body), times=1_000)
    with pytest.raises(RolloutError, match=r"no answer: .*\(3 attempts\)"):
        ask()


def test_an_answer_without_token_ids_is_refused_with_what_is_needed(server, ask):
    server.mischief = changed(server, token_ids=None, text="some text")
    with pytest.raises(RolloutError, match=r"no token_ids.*detokenize=false.*from text they can't be had"):
        ask()


def test_a_prompt_that_was_cut_or_read_anew_is_refused(server, ask):
    def mischief(request, before):
        return Say.json({**server.completion(request), "prompt_token_ids": request["prompt"][1:]})

    server.mischief = mischief
    with pytest.raises(RolloutError, match="has read another prompt"):
        ask()


def test_an_end_token_that_was_taken_off_is_refused(server, ask):
    server.mischief = changed(server, token_ids=[5, 6], finish_reason="stop")
    with pytest.raises(RolloutError, match="its end token was taken off"):
        ask()


def test_an_answer_that_was_cut_too_early_is_refused(server, ask):
    server.mischief = changed(server, token_ids=[5, 6], finish_reason="length")
    with pytest.raises(RolloutError, match="was cut after 2 of 6 tokens"):
        ask()


def test_logprobs_of_another_number_are_refused(server, ask):
    server.mischief = changed(server, logprobs={"token_logprobs": [-1.0]})
    with pytest.raises(RolloutError, match=r"has \d tokens and 1 logprobs"):
        ask()


def test_a_server_without_logprobs_gives_answers_without_them(server, ask, caplog):
    server.mischief = changed(server, logprobs=None)
    assert all(completion.logprobs is None for completion in ask().values())
    assert sum("tells no logprobs" in record.message for record in caplog.records) == 1


def test_a_refused_request_ends_it_at_once_with_the_servers_words(server, ask):
    server.mischief = first_says(Say(b'{"message": "prompt is too long"}', status=400), times=1_000)
    with pytest.raises(RolloutError, match=r"was refused: status 400: .*prompt is too long.*--max_seq_len"):
        ask(requests_at_once=1)
    assert len(server.requests) == 1


@pytest.mark.parametrize("status", [308, 401, 404])
def test_a_wrong_address_or_key_is_told_at_once(server, ask, status, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "secret-of-mine")
    server.mischief = first_says(Say(b"no", status=status), times=1_000)
    with pytest.raises(ConfigError, match=rf"answers {status} .*rollout\.base_url, rollout\.served_model") as told:
        ask()
    assert "secret-of-mine" not in str(told.value)


def test_nobody_there_is_an_error_after_all_attempts(folder, tokenizer):
    engine = OpenAIEngine(folder, tokenizer, base_url="http://127.0.0.1:9/v1", attempts=2, first_wait_seconds=0.01)
    with pytest.raises(RolloutError, match=r"no answer: ConnectError.*\(2 attempts\)"):
        answers(engine, prompts(3), FEW)


def test_it_takes_no_weights_and_says_so(folder, tokenizer, weights):
    engine = OpenAIEngine(folder, tokenizer, base_url="http://127.0.0.1:9/v1")
    with pytest.raises(RolloutError, match=r"serves the weights that it was started with.*to train, choose"):
        engine.load_weights(weights.items())
