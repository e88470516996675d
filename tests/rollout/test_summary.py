"""Metrics of a step, worked by hand."""

import pytest

from nemo_prorl.rollout.summary import GroupSummary, sampling_metrics, slowest_times, verdict_metrics


def summary(draw: int, domain: str, rewards: tuple[float, float], **settings) -> GroupSummary:
    known = {"response_tokens": (10, 20), "finish_reasons": ("stop", "stop"), "outcomes": ("scored", "scored")}
    known |= {"prompt_tokens": 5, "repetitions": (0.0, 0.0)}
    return GroupSummary(draw, f"p{draw}", domain, max(rewards) > min(rewards), rewards, **known | settings)


def test_sampled_and_kept_rewards_are_told_apart():
    """Sampled: 1 0, 1 1, 0 0, .5 0, mean 3.5/8. Kept: the first group, mean 1/2."""
    groups = [
        summary(0, "math", (1.0, 0.0)),
        summary(
            1, "math", (1.0, 1.0), response_tokens=(30, 40), finish_reasons=("stop", "length"), repetitions=(0.2, 0.6)
        ),
        summary(2, "logic", (0.0, 0.0), outcomes=("no_answer", "timeout")),
        summary(3, "logic", (0.5, 0.0)),
    ]
    values = sampling_metrics(groups, groups[:1], rounds=2)
    assert values["reward/sampled_mean"] == pytest.approx(3.5 / 8)
    assert values["reward/kept_mean"] == pytest.approx(1 / 2)
    assert values["reward/math/sampled_mean"] == pytest.approx(3 / 4)
    assert values["reward/logic/sampled_mean"] == pytest.approx(0.5 / 4)
    assert values["rollout/math/teaching_fraction"] == pytest.approx(1 / 2)
    assert values["rollout/teaching_fraction"] == pytest.approx(2 / 4)
    assert values["rollout/all_right_fraction"] == values["rollout/all_wrong_fraction"] == pytest.approx(1 / 4)
    assert values["rollout/response_tokens_mean"] == pytest.approx((3 * 30 + 70) / 8)
    assert values["rollout/response_tokens_max"] == 40
    assert values["rollout/repetition_mean"] == pytest.approx((0.2 + 0.6) / 8)
    assert values["rollout/truncated_fraction"] == pytest.approx(1 / 8)
    assert values["rollout/no_answer_fraction"] == values["rollout/timeout_fraction"] == pytest.approx(1 / 8)
    assert values["rollout/rounds"] == 2
    assert values["rollout/unjudged_fraction"] == pytest.approx(1 / 8)
    assert values["rollout/missing_end_fraction"] == pytest.approx(1 / 8)


def test_a_domain_that_goes_wrong_does_not_hide_in_the_mean():
    """logic: 1 of 4 solved (0.995 is, 0.9 isn't), lengths 10 20 30 40, 1 of 4 cut and 1 given up, 2 not judged."""
    groups = [
        summary(0, "math", (1.0, 0.0)),
        summary(1, "logic", (0.995, 0.9), finish_reasons=("length", "abort"), repetitions=(0.1, 0.3)),
        summary(2, "logic", (0.0, 0.0), response_tokens=(30, 40), outcomes=("error", "timeout")),
    ]
    values = sampling_metrics(groups, groups[:1], rounds=1)
    wanted = {
        "reward/logic/solved_fraction": 1 / 4,
        "rollout/logic/response_tokens_mean": 25.0,
        "rollout/logic/truncated_fraction": 1 / 4,
        "rollout/logic/repetition_mean": 0.1,
        "rollout/logic/no_answer_fraction": 0.0,
        "rollout/logic/error_fraction": 1 / 4,
        "rollout/logic/timeout_fraction": 1 / 4,
        "reward/math/solved_fraction": 1 / 2,
        "rollout/math/truncated_fraction": 0.0,
        "rollout/missing_end_fraction": 2 / 6,
    }
    assert {name: values[name] for name in wanted} == pytest.approx(wanted)


def test_verdicts_are_counted_by_domain_and_outcome():
    """math: 4 verdicts, one an error; logic: 2, both no answer."""
    groups = [
        summary(0, "math", (1.0, 0.0)),
        summary(1, "math", (0.0, 1.0), outcomes=("error", "scored")),
        summary(2, "logic", (0.0, 0.0), outcomes=("no_answer", "no_answer")),
    ]
    values = verdict_metrics(groups)
    wanted = {
        "verifier/math/verdicts": 4,
        "verifier/math/error": 1,
        "verifier/math/error_fraction": 0.25,
        "verifier/math/scored_fraction": 0.75,
        "verifier/logic/verdicts": 2,
        "verifier/logic/no_answer_fraction": 1.0,
    }
    assert {name: values[name] for name in wanted} == wanted
    assert len(values) == 2 * 9


def test_of_the_pools_of_all_ranks_the_slowest_times_are_told():
    told = slowest_times([{"time/x": 1.0, "verifier/math/verdicts": 3.0}, {"time/x": 2.0, "time/y": 0.5}])
    assert told == {"time/x": 2.0, "time/y": 0.5}


def test_what_a_verifier_failed_to_judge_says_nothing_about_the_problem():
    judged = summary(0, "math", (1.0, 0.0), outcomes=("scored", "no_answer")).judged_rewards
    assert judged == (1.0, 0.0)
    assert summary(0, "math", (1.0, 0.0), outcomes=("scored", "timeout")).judged_rewards == (1.0,)
    assert summary(0, "math", (0.0, 0.0), outcomes=("error", "timeout")).judged_rewards == ()
