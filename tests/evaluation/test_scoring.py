"""Scores of stored answers: hand-worked numbers, thresholds, and bootstrap errors against the formula."""

import numpy as np
import pytest

from nemo_prorl.evaluation.estimate import Estimate
from nemo_prorl.evaluation.folder import Answers
from nemo_prorl.evaluation.records import SetRecord
from nemo_prorl.evaluation.resampling import Resampled, problem_counts, resampled
from nemo_prorl.evaluation.scoring import MIXED, SetNumbers, TaskNumbers


def asked(samples, **more):
    settings = {"title": "t", "problems": 1, "solved_reward": 0.99, "score": "by_domain", "problems_per_part": 8}
    return SetRecord(samples_per_prompt=samples, identity="i", **{**settings, **more})


def answers(*rewards, domain="math", task="sum", outcomes=None, reasons=None):
    return Answers(
        uid=f"{task}-{rewards}",
        domain=domain,
        task=task,
        rewards=np.array(rewards),
        response_tokens=np.arange(1, len(rewards) + 1),
        outcomes=outcomes or ("scored",) * len(rewards),
        finish_reasons=reasons or ("stop",) * len(rewards),
    )


def test_a_task_by_hand():
    """2 of 4 and none of 4 solved: pass@1 0.25; pass@2 of the first 1 - C(2,2)/C(4,2) = 5/6, so 5/12."""
    two = answers(1.0, 0.0, 1.0, 0.0, reasons=("stop", "length", "stop", "stop"))
    none = answers(0.0, 0.0, 0.0, 0.5, outcomes=("no_answer", "timeout", "error", "scored"))
    record = TaskNumbers.of([two, none], asked(4), (1, 2, 4)).record()
    assert record.score.value == record.solved.value == record.pass_at_k[1].value == 0.25
    assert record.pass_at_k[2].value == pytest.approx(5 / 12)
    assert record.pass_at_k[4].value == 0.5
    assert record.reward.value == pytest.approx((0.5 + 0.125) / 2)
    assert (record.response_tokens.value, record.truncated.value) == (2.5, 1 / 8)
    assert (record.no_answer.value, record.unjudged.value) == (1 / 8, 2 / 8)
    assert set(record.pass_at_k_bound) == {2, 4}


def test_continuous_rewards_are_right_from_the_threshold_on():
    graded = [answers(0.5, 0.98, 0.99, 1.0, domain="code")]
    assert TaskNumbers.of(graded, asked(4), (1,)).passes[1].value == 0.5
    assert TaskNumbers.of(graded, asked(4, solved_reward=1.0), (1,)).passes[1].value == 0.25
    assert TaskNumbers.of(graded, asked(4, solved_reward=0.5), (1,)).passes[1].value == 1.0


@pytest.mark.parametrize(("domain", "score"), [("math", 0.5), ("stem", 0.5), ("logic", 0.75), ("instruction", 0.75)])
def test_logic_and_instructions_are_scored_by_reward_and_the_others_by_what_is_solved(domain, score):
    found = TaskNumbers.of([answers(1.0, 0.5, domain=domain)], asked(2), (1,))
    assert found.measures["score"].value == score


def test_each_task_counts_the_same_however_many_problems_it_has():
    easy = [answers(1.0, task="easy") for _ in range(9)]
    hard = [answers(0.0, task="hard", domain="code")]
    tasks = {"easy": TaskNumbers.of(easy, asked(1), (1,)), "hard": TaskNumbers.of(hard, asked(1), (1,))}
    record = SetNumbers(asked(1, problems=10), tasks).record()
    assert (record.score.value, record.problems, record.domain) == (0.5, 10, MIXED)
    assert record.score.standard_error is None  # one problem tells nothing of others
    assert (record.tasks["easy"].score.value, record.tasks["easy"].domain) == (1.0, "math")


def test_bootstrap_errors_are_those_of_the_formula():
    """Over 200 problems; sqrt((P - 1) / P) is what a bootstrap misses of the unbiased error, and 4 % its own noise."""
    values = np.random.default_rng(0).random(200)
    (found,) = resampled(values[None], "task")
    wanted = Estimate.of_problems(values.tolist()).standard_error
    measure = found.measure()
    assert measure.value == pytest.approx(values.mean())
    assert measure.standard_error == pytest.approx(wanted, rel=0.06)
    assert measure.low == pytest.approx(values.mean() - 1.96 * wanted, abs=0.2 * wanted)
    assert measure.high == pytest.approx(values.mean() + 1.96 * wanted, abs=0.2 * wanted)


def test_95_percent_intervals_hold_the_truth_about_so_often():
    random = np.random.default_rng(3)
    held = 0
    for number in range(200):
        (found,) = resampled((random.random(60) < 0.4).astype(float)[None], f"task {number % 4}")
        measure = found.measure()
        held += measure.low <= 0.4 <= measure.high
    assert 0.90 <= held / 200 <= 0.985


def test_resamples_draw_every_problem_equally_and_depend_on_the_task_s_name():
    counts = problem_counts(7, "a task")
    assert (counts.sum(axis=1) == 7).all()
    assert counts.mean(axis=0) == pytest.approx(np.ones(7), abs=0.1)
    assert counts[0].tolist() == [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 2.0]  # the same in every process, for ever
    assert not np.array_equal(problem_counts(7, "another"), counts)


def test_the_mean_over_tasks_is_resampled_task_by_task():
    """Independent errors of two tasks: sqrt(a^2 + b^2) / 2."""
    random = np.random.default_rng(0)
    one, other = (resampled(random.random(80)[None], name)[0] for name in ("one", "other"))
    errors = [part.measure().standard_error for part in (one, other)]
    wanted = np.hypot(*errors) / 2
    assert Resampled.mean([one, other]).measure().standard_error == pytest.approx(wanted, rel=0.06)
