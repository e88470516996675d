"""Blended validation sets: weights, cadence, what is carried over, the best, and the share of time."""

import json
from dataclasses import replace

import pytest

from nemo_prorl.config.schema import ProRLConfig
from nemo_prorl.config.validation import HeldOutConfig, ValidationConfig
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.errors import ConfigError
from nemo_prorl.evaluation.runner import Validator
from nemo_prorl.evaluation.time_share import TimeShare
from nemo_prorl.evaluation.validation_set import ValidationSet
from nemo_prorl.world import LocalWorld
from tests.evaluation.test_runner import STAGE, ByUid, ReadsNumber


def prompt(uid, domain, task="sum"):
    return Prompt(uid, domain, task, "me", ({"role": "user", "content": uid},), (1, 2), domain, {})


def of_one(name, uid, domain="math", **settings):
    return ValidationSet(name, (prompt(uid, domain, name),), **{"samples_per_prompt": 2, "ks": (1, 2)} | settings)


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


class Slow(ByUid):
    """An engine that takes ten seconds."""

    def __init__(self, texts, clock):
        super().__init__(texts)
        self.clock = clock

    def generate(self, prompts, sampling):
        self.clock.now += 10
        yield from super().generate(prompts, sampling)


def validator(texts, sets, *, engine=None, clock=None, **config):
    return Validator(
        engine=engine or ByUid(texts),
        pool=ReadsNumber(),
        sets=sets,
        world=LocalWorld(),
        config=ValidationConfig(**config),
        run_seed=5,
        **({"clock": clock} if clock else {}),
    )


def test_the_overall_score_weighs_sets_and_each_scores_as_its_domain_does():
    """math: half right, 0.6 is no solution: 1/2. code, a third of its rewards: 0. logic: mean reward 0.5. 3 : 2 : 1."""
    texts = {"m": ["1", "0.6"], "c": ["0.3", "0.3"], "l": ["0.9", "0.1"]}
    sets = [
        of_one("math", "m", weight=3),
        of_one("code", "c", "code", weight=2),
        of_one("puzzles", "l", "logic", weight=1),
    ]
    result = validator(texts, sets).run(0, STAGE)
    assert {name: scores["score"].value for name, scores in result.sets.items()} == {
        "code": 0.0,
        "math": 0.5,
        "puzzles": pytest.approx(0.5),
    }
    assert result.score == pytest.approx((3 * 0.5 + 2 * 0.0 + 1 * 0.5) / 6)
    assert result.domains["logic"]["score"].value == pytest.approx(0.5)
    assert result.metrics["validation/all/pass_at_1"] == pytest.approx(3 * 0.5 / 6)


def test_a_set_may_be_scored_otherwise():
    texts = {"a": ["0.3", "0.6"], "b": ["0.3", "0.6"]}
    sets = [
        of_one("by_reward", "a", score="reward"),
        of_one("by_half", "b", "logic", score="solved", solved_reward=0.5),
    ]
    result = validator(texts, sets).run(0, STAGE)
    assert result.sets["by_reward"]["score"].value == pytest.approx(0.45)
    assert result.sets["by_half"]["score"].value == pytest.approx(0.5)


def test_sets_with_different_numbers_of_samples_share_those_pass_at_k_that_both_have():
    texts = {"a": ["1"], "b": ["1", "0"]}
    sets = [of_one("one", "a", samples_per_prompt=1, ks=(1,)), of_one("two", "b")]
    result = validator(texts, sets).run(0, STAGE)
    assert list(result.overall.pass_at_k) == [1]
    assert list(result.sets["two"].pass_at_k) == [1, 2]


def test_a_set_that_is_not_run_stands_as_it_was_and_says_how_old_it_is():
    """b is run in validations 0 and 2, and in the last. In between its 1.0 stays in the mean, and a moves it alone."""
    sets = [of_one("a", "a"), of_one("b", "b", every_validations=2)]
    engine = ByUid({"a": ["0", "0"], "b": ["1", "1"]})
    validating = validator({}, sets, engine=engine)
    assert validating.run(0, STAGE).score == 0.5
    engine.texts = {"a": ["1", "0"], "b": ["0", "0"]}
    second = validating.run(10, STAGE)
    assert second.score == pytest.approx((0.5 + 1.0) / 2)
    assert second.metrics["validation/sets/b/steps_old"] == 10
    assert "validation/sets/b/score" not in second.metrics and "validation/b/score" not in second.metrics
    assert second.summary.endswith("; b: not run)")
    third = validating.run(20, STAGE)
    assert third.score == pytest.approx(0.25)
    assert "validation/sets/b/steps_old" not in third.metrics
    assert validating.run(30, STAGE, is_last=True).metrics["validation/sets/b/score"] == 0.0


def test_with_another_context_every_set_is_run_for_what_it_scored_before_cannot_be_compared():
    validating = validator({"a": ["1", "0"]}, [of_one("a", "a", every_validations=9)])
    validating.run(0, STAGE)
    assert not validating.run(1, STAGE).sets
    assert list(validating.run(2, replace(STAGE, context_tokens=64)).sets) == ["a"]
    assert not validating.run(3, replace(STAGE, context_tokens=64)).sets


def test_what_was_carried_over_is_carried_through_a_checkpoint():
    sets = [of_one("a", "a"), of_one("b", "b", every_validations=3)]
    texts = {"a": ["1", "0"], "b": ["1", "1"]}
    unbroken, broken = validator(texts, sets), validator(texts, sets)
    for one in (unbroken, broken):
        one.run(0, STAGE)
    resumed = validator(texts, sets)
    resumed.load_state_dict(json.loads(json.dumps(broken.state_dict())))
    for step in (5, 10, 15):
        assert resumed.run(step, STAGE) == unbroken.run(step, STAGE)


def test_a_new_set_is_run_at_once_and_one_that_is_gone_is_forgotten():
    texts = {"a": ["1", "0"], "b": ["1", "1"]}
    before = validator(texts, [of_one("a", "a", every_validations=5)])
    before.run(0, STAGE)
    resumed = validator(texts, [of_one("b", "b", every_validations=5)])
    resumed.load_state_dict(before.state_dict())
    result = resumed.run(5, STAGE)
    assert (list(result.sets), result.score) == (["b"], 1.0)


def test_the_best_is_chosen_by_any_metric_and_only_when_it_was_measured():
    sets = [of_one("a", "a"), of_one("b", "b", every_validations=2)]
    texts = {"a": ["1", "0"], "b": ["1", "1"]}
    by_b = validator(texts, sets, best_metric="validation/sets/b/pass_at_1")
    assert (by_b.run(0, STAGE).best, by_b.run(1, STAGE).best) == (1.0, None)
    shortest = validator(texts, sets, best_metric="validation/all/response_tokens_mean", best_mode="min")
    assert shortest.run(0, STAGE).best == -1.0


def test_a_metric_that_no_validation_has_is_refused_before_there_is_one():
    with pytest.raises(ConfigError, match=r"validation/sets/aa/score'.*validation/sets/a/score"):
        validator({"a": ["1", "0"]}, [of_one("a", "a")], best_metric="validation/sets/aa/score")


def test_a_set_takes_what_it_leaves_open_from_the_validation():
    common = ValidationConfig(samples_per_prompt=8, pass_at_k=[4, 8, 16], solved_reward=0.7)
    prompts = [prompt("a", "math")]
    plain = ValidationSet.from_config("x", prompts, HeldOutConfig(name="jsonl"), common)
    own = ValidationSet.from_config("x", prompts, HeldOutConfig(name="jsonl", samples_per_prompt=4), common)
    assert (plain.samples_per_prompt, plain.ks, plain.solved_reward) == (8, (1, 4, 8), 0.7)
    assert own.ks == (1, 4)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"data": {"held_out": {"a": {"name": "jsonl", "weight": 0}}}}, "weight=0"),
        ({"validation": {"pass_at_k": [1, 99]}}, r"k=\[99\], more than the 16"),
    ],
)
def test_sets_without_a_score_or_without_enough_samples_are_refused(settings, complaint):
    base = {
        "model": {"path": "m"},
        "recipe": {"stages": {"a": {}}},
        "data": {"sources": {"s": {"name": "jsonl"}}, "held_out": {"a": {"name": "jsonl"}}},
    }
    merged = {**base, **settings, "data": {**base["data"], **settings.get("data", {})}}
    with pytest.raises(ValueError, match=complaint):
        ProRLConfig(**merged)


def test_a_validation_over_its_share_of_time_is_put_off_until_there_is_room():
    """10 s each, at most 10 %: after one at second 0 the next must wait until 20 of 200 s."""
    clock = Clock()
    validating = validator(
        {}, [of_one("a", "a")], engine=Slow({"a": ["1", "0"]}, clock), clock=clock, max_time_share=0.1
    )
    validating.run(0, STAGE)
    taken = []
    for step in range(1, 41):
        clock.now += 5
        if validating.takes_turn(step, is_due=step % 10 == 0, is_last=step == 40):
            result = validating.run(step, STAGE)
            taken.append((step, result.metrics["validation/put_off_steps"]))
            assert result.metrics["time/validation_share"] <= 0.1 or step == 40
    # Due at 10: 20 of 10 + 50 + 10 s. There is room once 10 + 5 n + 10 >= 200, at n = 36. The last is never put off.
    assert taken == [(36, 26), (40, 0)]


def test_without_a_limit_the_clock_decides_nothing():
    validating = validator({"a": ["1", "0"]}, [of_one("a", "a")])
    assert [validating.takes_turn(step, is_due=step % 2 == 0, is_last=False) for step in (1, 2)] == [False, True]
    assert not any(name.startswith(("time/", "validation/put_off")) for name in validating.run(2, STAGE).metrics)


def test_the_time_of_former_lives_counts_and_the_time_between_them_does_not():
    clock = Clock()
    first = TimeShare(0.5, clock)
    with first.spending():
        clock.now += 30
    clock.now += 70
    state = first.state_dict()
    clock.now += 1000
    second = TimeShare(0.5, clock)
    second.load_state_dict(state)
    assert second.share == pytest.approx(0.3)
    clock.now += 50
    assert second.elapsed_seconds == pytest.approx(150)
    assert second.has_room()
