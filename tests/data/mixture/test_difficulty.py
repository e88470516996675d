"""What is remembered of problems, and which are passed over for it."""

import json
import random

import pytest

from nemo_prorl.data.blend import Blend
from nemo_prorl.data.mixture import Avoidance, Mixture
from nemo_prorl.data.mixture.difficulty import Observed, PassRates
from nemo_prorl.data.sources.base import question_key
from nemo_prorl.data.sources.lines import uid_digest
from nemo_prorl.errors import CheckpointError, DataError

SUMS = [f"{i} + {i}?" for i in range(20)]


def mixture_of(source, tokenizer, **settings):
    rule = Avoidance(**{"solved_at": 1.0, "hopeless_at": 0.0, "min_samples": 4, "revisit_probability": 0.2} | settings)
    return Mixture({"a": (source, 1.0)}, tokenizer, seed=3, max_prompt_tokens=200, avoidance=rule)


def epoch(mixture, seen=lambda uid: (0.0, 1.0, 0.0, 1.0), until=1.0):
    """Draw and observe one by one until the source has been walked `until` times; the uids in order."""
    drawn = []
    while mixture.metrics()["data/epochs/a/math"] < until:
        (prompt,) = mixture.draw(1)
        drawn.append(prompt.uid)
        mixture.observe([(prompt.uid, seen(prompt.uid))])
    return drawn


def test_older_samples_weigh_less_with_each_group():
    """memory 1/2: 4 samples, all right: 4/4. Then 2 wrong ones: (4 x 1/2) of (4 x 1/2 + 2) = 2/4. Then again: 1/4."""
    rates = PassRates()
    rates.add(7, [1.0] * 4, memory=0.5)
    assert rates.of(7) == Observed(4.0, 1.0)
    rates.add(7, [0.0] * 2, memory=0.5)
    assert rates.of(7) == Observed(4.0, 0.5)
    rates.add(7, [0.0] * 2, memory=0.5)
    assert rates.of(7) == Observed(4.0, 0.25)
    assert rates.of(8) is None


def test_pass_rates_survive_json_bit_for_bit_whenever_they_are_saved():
    """The same 5,000 observations of 700 problems, saved and restored after each 900th or never."""
    rng = random.Random(0)
    seen = [(rng.randrange(1, 2**64) % 700 + 1, [rng.random() for _ in range(3)]) for _ in range(5000)]
    unbroken, resumed = PassRates(), PassRates()
    for number, (uid, rewards) in enumerate(seen):
        unbroken.add(uid, rewards, memory=0.7)
        resumed.add(uid, rewards, memory=0.7)
        if number % 900 == 0:
            state, resumed = json.loads(json.dumps(resumed.state_dict())), PassRates()
            resumed.load_state_dict(state)
    assert unbroken.state_dict() == resumed.state_dict()
    assert unbroken.metrics() == resumed.metrics()
    assert unbroken.metrics()["data/known_problems"] == len({uid for uid, _ in seen})


def test_a_table_that_is_not_whole_is_refused():
    rates = PassRates()
    rates.add(7, [1.0], memory=1.0)
    state = rates.state_dict()
    for broken in ({**state, "problems": 2}, {**state, "table": state["table"][:-8]}, {**state, "table": "?"}):
        with pytest.raises(CheckpointError, match=r"pass rates of [12] problems in the checkpoint can't be read"):
            PassRates().load_state_dict(broken)


@pytest.mark.parametrize(
    ("samples", "pass_rate", "band", "reason"),
    [
        (4, 1.0, None, "solved"),
        (4, 0.99, None, None),
        (4, 0.0, None, "hopeless"),
        (4, 0.01, None, None),
        (3, 1.0, None, None),
        (4, 1.0, (0.2, 1.0), None),
        (4, 0.1, (0.2, 1.0), "outside_band"),
        (3, 0.1, (0.2, 1.0), None),
    ],
)
def test_the_rule_needs_samples_and_a_stages_band_stands_before_its_limits(samples, pass_rate, band, reason):
    rule = Avoidance(solved_at=1.0, hopeless_at=0.0, min_samples=4)
    assert rule.reason(Observed(samples, pass_rate), band) == reason
    assert rule.reason(None, band) is None


def test_solved_and_hopeless_problems_become_rare_and_the_others_come_once_an_epoch(list_source, tokenizer):
    """Even ones are always solved, every fifth odd one is hopeless: 10 and 2 of 20; the other 8 teach."""
    rewards = {i: (1.0,) * 4 if i % 2 == 0 else (0.0,) * 4 if i % 5 == 0 else (0.0, 1.0) * 2 for i in range(20)}
    mixture = mixture_of(list_source(SUMS), tokenizer)
    by_epoch = [epoch(mixture, lambda uid: rewards[int(uid.split("-")[1])], until=n) for n in range(1, 41)]
    assert sorted(by_epoch[0]) == sorted(f"sums-{i}" for i in range(20))
    teaching = {f"sums-{i}" for i in range(20) if len(set(rewards[i])) == 2}
    later = [uid for uids in by_epoch[1:] for uid in uids]
    assert all(abs(later.count(uid) - 39) <= 1 for uid in teaching)
    revisits = [later.count(f"sums-{i}") for i in range(20) if f"sums-{i}" not in teaching]
    assert all(revisits)  # none is lost
    assert abs(sum(revisits) / (12 * 39) - 0.2) < 5 * (0.2 * 0.8 / (12 * 39)) ** 0.5
    counts = mixture.metrics()
    assert counts["data/revisited_prompts"] == sum(revisits)
    assert counts["data/solved_prompts"] > counts["data/hopeless_prompts"] > 0


def test_a_problem_that_is_solved_no_longer_comes_back_for_good(list_source, tokenizer):
    """With memory 1/2, four wrong answers after any number of right ones make a rate of at most 1/2."""
    mixture = mixture_of(list_source(SUMS), tokenizer)
    for _ in range(9):
        mixture.observe([("sums-0", (1.0,) * 4)])
    assert "sums-0" not in epoch(mixture, until=1.0)
    mixture.observe([("sums-0", (0.0,) * 4)])
    assert "sums-0" in epoch(mixture, until=2.0)


def test_by_default_rates_are_kept_and_nothing_is_passed_over(list_source, tokenizer):
    mixture = Mixture({"a": (list_source(SUMS), 1.0)}, tokenizer, seed=3, max_prompt_tokens=200)
    for until in (1.0, 2.0):
        assert sorted(epoch(mixture, lambda uid: (1.0,) * 64, until)) == sorted(f"sums-{i}" for i in range(20))
    assert mixture.metrics()["data/known_solved_fraction"] == 1.0


def test_a_stage_draws_from_its_band_of_pass_rates(list_source, tokenizer):
    mixture = mixture_of(list_source(SUMS), tokenizer, solved_at=None, hopeless_at=None, revisit_probability=1e-9)
    mixture.observe([(f"sums-{i}", (1.0,) * i + (0.0,) * (19 - i)) for i in range(20)])
    drawn = {mixture.draw(1, Blend(pass_rates=(0.25, 0.5)))[0].uid for _ in range(40)}
    assert drawn == {f"sums-{i}" for i in range(5, 10)}  # 5/19 = 0.26 to 9/19 = 0.47
    assert len({mixture.draw(1)[0].uid for _ in range(40)}) == 20


def test_a_source_whose_only_usable_row_is_solved_is_not_taken_for_one_without(list_source, tokenizer):
    """19 of 20 rows are held out: two epochs of them go by more than once before the last one is drawn again."""
    rule = Avoidance(solved_at=1.0, min_samples=4, revisit_probability=0.02)
    exclude = {question_key(question) for question in SUMS[1:]}
    sources = {"a": (list_source(SUMS), 1.0)}
    mixture = Mixture(sources, tokenizer, seed=3, max_prompt_tokens=200, avoidance=rule, exclude=exclude)
    mixture.observe([("sums-0", (1.0,) * 4)])
    assert mixture.draw(1)[0].uid == "sums-0"
    assert mixture.metrics()["data/solved_prompts"] > 4


def test_solved_rows_that_can_not_be_drawn_any_more_are_nothing_to_wait_for(list_source, tokenizer):
    """All rows are held out since the run was resumed, and half of them were solved before."""
    rule = Avoidance(solved_at=1.0, min_samples=4, revisit_probability=0.02)
    exclude = {question_key(question) for question in SUMS}
    sources = {"a": (list_source(SUMS), 1.0)}
    mixture = Mixture(sources, tokenizer, seed=3, max_prompt_tokens=200, avoidance=rule, exclude=exclude)
    mixture.observe([(f"sums-{i}", (1.0,) * 4) for i in range(0, 20, 2)])
    with pytest.raises(DataError, match="none of 40 rows on end may be drawn"):
        mixture.draw(1)


def test_when_all_are_to_be_avoided_one_is_drawn_after_all(list_source, tokenizer):
    mixture = mixture_of(list_source(SUMS), tokenizer, revisit_probability=1e-12)
    mixture.observe([(f"sums-{i}", (1.0,) * 4) for i in range(20)])
    assert len(mixture.draw(2)) == 2


@pytest.mark.parametrize("before", [0, 3, 25, 60])
def test_a_resumed_mixture_remembers_what_it_saw(list_source, tokenizer, before):
    unbroken, stopped = (mixture_of(list_source(SUMS), tokenizer) for _ in range(2))
    seen = lambda prompt: [(prompt.uid, [float(uid_digest(prompt.uid) % 3 == 0)] * 4)]  # noqa: E731
    for mixture in (unbroken, stopped):
        for _ in range(before):
            mixture.observe(seen(mixture.draw(1)[0]))
    resumed = mixture_of(list_source(SUMS), tokenizer)
    resumed.load_state_dict(json.loads(json.dumps(stopped.state_dict())))
    for _ in range(60):
        one, other = unbroken.draw(1)[0], resumed.draw(1)[0]
        assert one == other
        unbroken.observe(seen(one))
        resumed.observe(seen(other))
    assert unbroken.state_dict() == resumed.state_dict()
    assert unbroken.metrics() == resumed.metrics()
