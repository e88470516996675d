"""Validation: hand-worked scores, the same for every number of ranks, and loud about a broken engine."""

from concurrent.futures import Future, ThreadPoolExecutor
from threading import Barrier

import numpy as np
import pytest

from nemo_prorl.config.validation import ValidationConfig
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Completion, Verdict
from nemo_prorl.errors import ConfigError, RolloutError, VerifierError
from nemo_prorl.evaluation.runner import Validator
from nemo_prorl.evaluation.validation_set import ValidationSet
from nemo_prorl.rollout.engine import Sampled
from nemo_prorl.world import LocalWorld

STAGE = SamplingParams(samples_per_prompt=2, max_response_tokens=9, context_tokens=32, temperature=1.2)


def prompt(uid, task):
    return Prompt(uid, "logic", task, "me", ({"role": "user", "content": uid},), (1, 2), "logic", {})


class ByUid:
    """An engine whose answers are what `texts` says of a prompt: {uid: [one text a sample]}."""

    def __init__(self, texts):
        self.texts, self.asked = texts, []

    def load_weights(self, stream):
        pass

    def generate(self, prompts, sampling):
        self.asked.append(sampling)
        for number, prompt in reversed(list(enumerate(prompts))):  # any order will do
            for sample, text in enumerate(self.texts[prompt.uid]):
                ids = np.zeros(len(text), dtype=np.int32)
                yield Sampled(number, sample, Completion(ids, None, "length" if "..." in text else "stop", text))

    def release(self):
        pass


class BySeed(ByUid):
    """Right or wrong by the seed of each completion alone."""

    def generate(self, prompts, sampling):
        self.texts = {
            p.uid: [
                "1" if sampling.completion_seed(p.uid, s) % 3 == 0 else "0" for s in range(sampling.samples_per_prompt)
            ]
            for p in prompts
        }
        yield from super().generate(prompts, sampling)


class ReadsNumber:
    """Judges whose reward is the number in the text; "?" is the verifier's own failure."""

    def __init__(self):
        self.undrained = 0

    def submit(self, prompt, text):
        self.undrained += 1
        verdict = Future()
        failed = text.startswith("?")
        verdict.set_result(Verdict(0.0, outcome="timeout") if failed else Verdict(float(text.strip("."))))
        return verdict

    def check_health(self):
        pass

    def drain_metrics(self):
        drained, self.undrained = self.undrained, 0
        return {"verifier/logic/verdicts": drained}


class Ranks:
    """Ranks as threads: what one gives to `gather`, all get."""

    def __init__(self, size):
        self.size, self.barrier, self.values = size, Barrier(size, timeout=20), [None] * size

    def run(self, work):
        with ThreadPoolExecutor(self.size) as threads:
            return list(threads.map(work, [self.world(rank) for rank in range(self.size)]))

    def world(self, number):
        ranks = self

        class OneRank(LocalWorld):
            rank, size = number, ranks.size

            def gather(self, value):
                ranks.values[number] = value
                ranks.barrier.wait()
                gathered = list(ranks.values)
                ranks.barrier.wait()
                return gathered

        return OneRank()


def validator(engine, prompts, *, pool=None, world=None, samples=4, **settings):
    """Of one set, called exam."""
    sets = [ValidationSet("exam", tuple(prompts), samples_per_prompt=samples, ks=tuple(sorted({1, samples})))]
    config = ValidationConfig(temperature=0.6, top_p=0.95)
    pool, world = pool or ReadsNumber(), world or LocalWorld()
    return Validator(engine=engine, pool=pool, sets=sets, world=world, config=config, run_seed=5, **settings)


def test_scores_worked_by_hand():
    """lcm: 1 of 4 and 0 of 4 right: pass@1 = 1/8, pass@4 = 1/2. bits: 2 of 4, for 0.98 is no solution.

    A token is a character. The score of logic is the mean reward. Two problems with 1/4 and 0: SE = sqrt(2/64 / 2) =
    1/8; the single problem of bits has none, and so nothing that it is part of.
    """
    texts = {"a": ["1", "0", "0", "0"], "b": ["0", "0", "0....", "?"], "c": ["1", "0.99", "0.98", "0"]}
    prompts = [prompt("a", "lcm"), prompt("b", "lcm"), prompt("c", "bits")]
    result = validator(ByUid(texts), prompts).run(0, STAGE)
    assert list(result.tasks) == ["bits", "lcm"]
    assert result.score == pytest.approx((1 / 8 + 2.97 / 4) / 2)
    expected = {
        "validation/lcm/score": 1 / 8,
        "validation/lcm/score_standard_error": 1 / 8,
        "validation/lcm/pass_at_1": 1 / 8,
        "validation/lcm/pass_at_1_standard_error": 1 / 8,
        "validation/lcm/pass_at_4": 1 / 2,
        "validation/lcm/pass_at_4_standard_error": 1 / 2,
        "validation/lcm/reward_mean": 1 / 8,
        "validation/lcm/reward_mean_standard_error": 1 / 8,
        "validation/lcm/truncated_fraction": 1 / 8,
        "validation/lcm/unjudged_fraction": 1 / 8,
        "validation/lcm/response_tokens_mean": (4 + 1 + 1 + 5 + 1) / 8,
        "validation/bits/score": 2.97 / 4,
        "validation/bits/pass_at_1": 1 / 2,
        "validation/bits/pass_at_4": 1.0,
        "validation/bits/reward_mean": 2.97 / 4,
        "validation/bits/truncated_fraction": 0.0,
        "validation/bits/unjudged_fraction": 0.0,
        "validation/bits/response_tokens_mean": (1 + 4 + 4 + 1) / 4,
    }
    overall = {
        "score": (1 / 8 + 2.97 / 4) / 2,
        "pass_at_1": 5 / 16,
        "pass_at_4": 3 / 4,
        "reward_mean": (1 / 8 + 2.97 / 4) / 2,
        "truncated_fraction": 1 / 16,
        "unjudged_fraction": 1 / 16,
        "response_tokens_mean": (1.5 + 2.5) / 2,
    }
    for place in ("all", "sets/exam", "domains/logic"):
        expected |= {f"validation/{place}/{name}": value for name, value in overall.items()}
    assert result.metrics == pytest.approx(expected)
    assert result.summary == (
        "score 0.434, pass@1 0.312, pass@4 0.750 "
        "(bits: score 0.742, pass@1 0.500, pass@4 1.000; lcm: score 0.125 ± 0.125, pass@1 0.125, pass@4 0.500)"
    )


def test_limits_come_from_the_stage_and_the_rest_from_the_validation_config():
    engine = ByUid({"a": ["1"]})
    validator(engine, [prompt("a", "lcm")], samples=1).run(7, STAGE)
    asked = engine.asked[0]
    assert (asked.max_response_tokens, asked.context_tokens) == (9, 32)
    assert (asked.samples_per_prompt, asked.temperature, asked.top_p) == (1, 0.6, 0.95)


def test_one_sample_has_no_pass_at_k_beside_pass_at_1():
    result = validator(ByUid({"a": ["1"]}), [prompt("a", "lcm")], samples=1).run(0, STAGE)
    assert result.summary == "score 1.000, pass@1 1.000 (lcm: score 1.000, pass@1 1.000)"


@pytest.mark.parametrize("size", [2, 3, 5])
def test_the_result_is_the_same_on_every_rank_for_every_number_of_ranks(size):
    """Exactly equal, with fewer problems than ranks too (5 ranks, 4 problems)."""
    prompts = [prompt(uid, task) for uid, task in zip("abcd", ["lcm", "bits", "bits", "lcm"], strict=True)]
    alone = validator(BySeed({}), prompts, samples=16).run(3, STAGE)
    results = Ranks(size).run(lambda world: validator(BySeed({}), prompts, world=world, samples=16).run(3, STAGE))
    assert all(result == alone for result in results)
    assert 0 < alone.score < 1


def test_each_step_draws_anew_and_the_same_step_again_the_same():
    prompts = [prompt(uid, "lcm") for uid in "abcdef"]
    first, again, later = (validator(BySeed({}), prompts, samples=16).run(step, STAGE) for step in (0, 0, 1))
    assert first == again
    assert first != later


def test_a_left_out_completion_is_an_error_not_a_zero():
    with pytest.raises(RolloutError, match=r"gave samples \[0, 1, 2\] of prompt 'a', expected each of 0 to 3"):
        validator(ByUid({"a": ["1", "1", "1"]}), [prompt("a", "lcm")]).run(0, STAGE)


def test_verdicts_of_a_validation_are_not_left_to_the_next_training_step():
    pool = ReadsNumber()
    validator(ByUid({"a": ["1"] * 4}), [prompt("a", "lcm")], pool=pool).run(0, STAGE)
    assert pool.undrained == 0


def test_verifiers_that_fail_too_often_end_the_validation():
    class Sick(ReadsNumber):
        def check_health(self):
            raise VerifierError("logic: 100 % of 4 verdicts failed")

    with pytest.raises(VerifierError, match="logic"):
        validator(ByUid({"a": ["?"] * 4}), [prompt("a", "lcm")], pool=Sick()).run(0, STAGE)


def test_when_one_rank_fails_all_ranks_stop_and_know_why():
    """Rank 1 of 2 has the problem whose answers are missing; rank 0 would wait for it for ever."""
    texts = {"a": ["1"] * 4, "b": ["1"]}
    prompts = [prompt("a", "lcm"), prompt("b", "lcm")]

    def outcome(world):
        try:
            validator(ByUid(texts), prompts, world=world).run(0, STAGE)
        except RolloutError as error:
            return str(error)

    told_0, told_1 = Ranks(2).run(outcome)
    assert "gave samples [0] of prompt 'b'" in told_1
    assert told_0.startswith("rank 1 failed while validating")
    assert told_1 in told_0


@pytest.mark.parametrize(("prompts", "complaint"), [([], "no problems"), ([prompt("a", "all")], "stands for all")])
def test_problems_that_cannot_be_scored_are_refused_at_once(prompts, complaint):
    with pytest.raises(ConfigError, match=complaint):
        validator(ByUid({}), prompts)


def test_a_few_answered_problems_are_there_to_be_read_on_every_rank():
    prompts = [prompt(uid, "lcm") for uid in "abc"]
    texts = {uid: ["1", "0"] for uid in "abc"}
    results = Ranks(2).run(
        lambda world: validator(ByUid(texts), prompts, world=world, samples=2, examples_per_set=2).run(0, STAGE)
    )
    for result in results:
        assert [group.prompt.uid for group in result.examples["exam"]] == ["a", "b"]
        assert result.examples["exam"][0].rewards == (1.0, 0.0)
