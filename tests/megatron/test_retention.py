"""Which checkpoints stay: worked by hand."""

import pytest

from nemo_prorl.megatron.retention import Entry, Retention, ranked

ENTRIES = [Entry(10, 0.3), Entry(20, 0.5, tags=("reset",)), Entry(30), Entry(40, 0.5), Entry(50, 0.1)]


@pytest.mark.parametrize(
    ("retention", "kept"),
    [
        (Retention(keep_last=1), {50: ["last 1 of 1"]}),
        (Retention(keep_last=2, keep_best=1), {20: ["best 1 of 1"], 40: ["last 2 of 2"], 50: ["last 1 of 2"]}),
        (
            Retention(keep_last=2, keep_best=2),
            {20: ["best 1 of 2"], 40: ["last 2 of 2", "best 2 of 2"], 50: ["last 1 of 2"]},
        ),
        (
            Retention(keep_last=1, keep_every_steps=20),
            {20: ["every 20 steps"], 40: ["every 20 steps"], 50: ["last 1 of 1"]},
        ),
        (Retention(keep_last=1, keep_at_resets=True), {20: ["at a reset"], 50: ["last 1 of 1"]}),
        (Retention(keep_last=9, keep_best=9), {10, 20, 30, 40, 50}),
    ],
)
def test_a_checkpoint_stays_for_its_reasons(retention, kept):
    """Of 20 and 40, both 0.5, the earlier is the better one; 30 has no score; 40 is last and best, and counts once."""
    reasons = {step: why for step, why in retention.reasons(ENTRIES).items() if why}
    assert (reasons if isinstance(kept, dict) else set(reasons)) == kept


def test_the_last_one_always_stays():
    for number in range(1, len(ENTRIES) + 1):
        reasons = Retention(keep_last=1, keep_best=1).reasons(ENTRIES[:number])
        assert reasons[ENTRIES[number - 1].step]


def test_the_best_come_first_and_those_without_a_score_not_at_all():
    assert [entry.step for entry in ranked(ENTRIES)] == [20, 40, 10, 50]


def test_scores_of_another_measure_are_not_compared():
    """The best of a context of 8192 was 0.6; at 16384 validation begins anew with 0.4."""
    entries = [Entry(10, 0.6, "8192"), Entry(20, 0.5, "8192"), Entry(30, 0.4, "16384"), Entry(40)]
    assert Retention(keep_last=1, keep_best=1).reasons(entries) == {
        10: [],
        20: [],
        30: ["best 1 of 1"],
        40: ["last 1 of 1"],
    }
