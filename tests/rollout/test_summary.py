"""Metrics of a step, worked by hand."""

import pytest

from nemo_prorl.rollout.summary import GroupSummary, merged_pool_metrics, sampling_metrics


def summary(draw: int, domain: str, rewards: tuple[float, float], **settings) -> GroupSummary:
    known = {"response_tokens": (10, 20), "finish_reasons": ("stop", "stop"), "outcomes": ("scored", "scored")}
    known |= {"prompt_tokens": 5, "repetitions": (0.0, 0.0)}
    return GroupSummary(draw, f"p{draw}", domain, max(rewards) > min(rewards), rewards, **known | settings)


def test_sampled_and_kept_rewards_are_told_apart():
    """Sampled: 1 0, 1 1, 0 0, .5 0, mean 3.5/8. Kept: the first group, mean 1/2. One teaching group is surplus."""
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
    assert values["rollout/math/kept_fraction"] == pytest.approx(1 / 2)
    assert values["rollout/teaching_fraction"] == pytest.approx(2 / 4)
    assert values["rollout/all_right_fraction"] == values["rollout/all_wrong_fraction"] == pytest.approx(1 / 4)
    assert values["rollout/surplus_groups"] == 1
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


def test_pool_metrics_of_ranks_add_up_but_for_times_and_fractions():
    """30 and 10 verdicts with 3 and 5 errors: 8 of 40. The slower rank's time counts."""
    merged = merged_pool_metrics(
        [
            {
                "verifier/math/verdicts": 30,
                "verifier/math/error": 3,
                "verifier/math/error_fraction": 0.1,
                "time/x": 2.0,
            },
            {
                "verifier/math/verdicts": 10,
                "verifier/math/error": 5,
                "verifier/math/error_fraction": 0.5,
                "time/x": 1.0,
            },
        ]
    )
    assert merged == {
        "verifier/math/verdicts": 40,
        "verifier/math/error": 8,
        "verifier/math/error_fraction": pytest.approx(0.2),
        "time/x": 2.0,
    }


def test_what_a_verifier_failed_to_judge_says_nothing_about_the_problem():
    judged = summary(0, "math", (1.0, 0.0), outcomes=("scored", "no_answer")).judged_rewards
    assert judged == (1.0, 0.0)
    assert summary(0, "math", (1.0, 0.0), outcomes=("scored", "timeout")).judged_rewards == (1.0,)
    assert summary(0, "math", (0.0, 0.0), outcomes=("error", "timeout")).judged_rewards == ()
