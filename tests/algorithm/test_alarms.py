"""Rules over recent values, worked by hand, and alarms that ring once."""

import pytest

from nemo_prorl.algorithm.alarms import Level, Reading, Rise, Stuck, is_on


def test_a_level_is_a_mean_over_the_last_steps():
    """(2 + 4 + 6) / 3 = 4; the 100 before is too old to count."""
    assert Level(limit=3.0, steps=3).read([100, 2, 4, 6]) == Reading(4.0, 3.0, above=True)
    assert Level(limit=3.0, steps=3).read([2, 4]) is None


def test_a_rise_is_measured_from_what_was_usual():
    """Median of 1 .. 9 and 1000 is 5.5, so one outlier changes nothing; twice that is 11."""
    before = [1, 2, 3, 4, 5, 6, 7, 8, 9, 1000]
    assert Rise(times=2, steps=2, before_steps=10).read([*before, 12, 14]) == Reading(13.0, 11.0, above=True)


def test_a_rise_needs_to_know_what_is_usual_and_forgets_what_is_old():
    rule = Rise(times=2, steps=1, before_steps=12)
    assert rule.read([1.0] * 9 + [5.0]) is None
    assert rule.read([1.0] * 10 + [5.0]) == Reading(5.0, 2.0, above=True)
    assert rule.read([0.1] * 50 + [1.0] * 12 + [5.0]) == Reading(5.0, 2.0, above=True)


def test_a_multiple_of_next_to_nothing_is_no_rise():
    rule = Rise(times=5, steps=1, before_steps=10, at_least=0.05)
    assert rule.read([0.001] * 10 + [0.04]).excess < 0
    assert rule.read([0.001] * 10 + [0.06]).excess > 0
    assert rule.read([0.02] * 10 + [0.09]) == Reading(0.09, 0.1, above=True)


def test_a_reward_is_stuck_when_it_gained_too_little():
    """(0.4 + 0.6) / 2 = 0.5 after (0.3 + 0.5) / 2 = 0.4: a gain of 0.1."""
    assert Stuck(gain=0.2, steps=2).read([0.3, 0.5, 0.4, 0.6]) == Reading(pytest.approx(0.1), 0.2, above=False)
    assert Stuck(gain=0.2, steps=2).read([0.3, 0.5, 0.4, 0.6]).excess > 0
    assert Stuck(gain=0.05, steps=2).read([0.3, 0.5, 0.4, 0.6]).excess < 0


def test_a_reward_at_the_top_is_not_stuck():
    """Also one that came there so slowly that the alarm was on: it goes off."""
    reading = Stuck(gain=0.01, steps=1, ceiling=0.9).read([0.95, 0.95])
    assert not is_on(reading, was_on=False) and not is_on(reading, was_on=True)
    assert is_on(Stuck(gain=0.01, steps=1, ceiling=0.9).read([0.88, 0.885]), was_on=False)
    assert not is_on(Stuck(gain=0.01, steps=1, ceiling=0.9).read([0.895, 0.901]), was_on=False)


@pytest.mark.parametrize(
    ("value", "above", "was_on", "expected"),
    [
        (1.0, True, False, False),  # at the limit is not beyond it
        (1.01, True, False, True),
        (0.95, True, True, True),  # a tenth inside: still the same alarm
        (0.89, True, True, False),
        (0.95, True, False, False),
        (0.99, False, False, True),
        (1.05, False, True, True),
        (1.11, False, True, False),
    ],
)
def test_an_alarm_on_the_brink_rings_once(value, above, was_on, expected):
    assert is_on(Reading(value, 1.0, above), was_on) is expected


@pytest.mark.parametrize("was_on", [True, False])
def test_without_a_reading_an_alarm_stays_as_it_was(was_on):
    assert is_on(None, was_on) is was_on
