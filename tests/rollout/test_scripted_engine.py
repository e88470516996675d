import json

import pytest

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import ConfigError, RolloutError
from nemo_prorl.plugins import configured
from nemo_prorl.rollout.engine import ROLLOUT_ENGINES
from nemo_prorl.rollout.scripted_engine import ScriptedEngine
from tests.rollout.stand_ins import byte_tokenizer, prompt

SAMPLING = SamplingParams(2, max_response_tokens=8, context_tokens=32)


def said(engine: ScriptedEngine, *uids: str, sampling: SamplingParams = SAMPLING) -> dict[tuple[str, int], str]:
    prompts = [prompt(uid) for uid in uids]
    return {(uids[p], sample): completion.text for p, sample, completion in engine.generate(prompts, sampling)}


def test_answers_from_a_function():
    engine = ScriptedEngine(None, byte_tokenizer(), answer=lambda prompt, sample: f"{prompt.uid}{sample}")
    assert said(engine, "a", "b") == {("a", 0): "a0", ("a", 1): "a1", ("b", 0): "b0", ("b", 1): "b1"}


def test_an_answer_from_a_list_depends_on_seed_uid_and_sample_alone():
    """So that ranks which share prompts out differently still give the same answers."""
    engine = ScriptedEngine(None, byte_tokenizer(), answers=[str(i) for i in range(1000)])
    together = said(engine, "a", "b", "c")
    assert together == said(engine, "c") | said(engine, "b", "a")
    assert len(set(together.values())) == 6
    assert together != said(engine, "a", "b", "c", sampling=SamplingParams(2, 8, 32, seed=1))


def test_answers_from_a_file(tmp_path):
    path = tmp_path / "answers.jsonl"
    rows = [{"uid": "a", "sample": i, "text": f"{i}\u2028!"} for i in range(2)]  # JSON has such a letter in one line
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    made = configured({"name": "scripted", "path": str(path)}, ROLLOUT_ENGINES, "rollout")
    engine = made(model_path=None, tokenizer=byte_tokenizer(), device="cpu")
    assert said(engine, "a") == {("a", 0): "0\u2028!", ("a", 1): "1\u2028!"}
    with pytest.raises(RolloutError, match=r"answers\.jsonl has no answer for prompt 'b', sample 0"):
        said(engine, "b")


def test_a_broken_file_is_named_with_its_line(tmp_path):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"uid": "a", "sample": 0, "text": "x"}\n{"uid": "a"}\n')
    with pytest.raises(ConfigError, match=r"answers\.jsonl, line 2: KeyError\('text'\)"):
        ScriptedEngine(None, byte_tokenizer(), path=path)
    with pytest.raises(ConfigError, match="can't be read"):
        ScriptedEngine(None, byte_tokenizer(), path=tmp_path / "nothing.jsonl")


@pytest.mark.parametrize("knobs", [{}, {"answers": []}, {"answers": ["x"], "path": "y"}])
def test_exactly_one_way_of_answering_is_asked_for(knobs):
    with pytest.raises(ConfigError, match="give one of answers"):
        ScriptedEngine(None, byte_tokenizer(), **knobs)


def test_token_ids_are_taken_as_they_are():
    tokenizer = byte_tokenizer()
    end = tokenizer.stop_ids[0]
    engine = ScriptedEngine(None, tokenizer, answer=lambda _, sample: [10, 11, end] if sample else [10, 11])
    cut, ended = (sampled.completion for sampled in engine.generate([prompt("a")], SAMPLING))
    assert (cut.token_ids.tolist(), cut.finish_reason) == ([10, 11], "length")
    assert (ended.token_ids.tolist(), ended.finish_reason) == ([10, 11, end], "stop")


def test_a_text_that_is_too_long_is_cut():
    engine = ScriptedEngine(None, byte_tokenizer(), answers=["0123456789"])
    for sampled in engine.generate([prompt("a")], SAMPLING):
        assert (sampled.completion.text, sampled.completion.finish_reason) == ("01234567", "length")


def test_logprobs_are_unknown_unless_given():
    for logprob in (None, -0.5):
        engine = ScriptedEngine(None, byte_tokenizer(), answers=["ab"], logprob=logprob)
        (sampled, *_) = engine.generate([prompt("a")], SAMPLING)
        got = sampled.completion.logprobs
        assert got is None if logprob is None else got.tolist() == [-0.5, -0.5, -0.5]
