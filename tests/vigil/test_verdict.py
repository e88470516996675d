"""Who is to blame, by hand-worked numbers: the limit is 10 s in `update`, 100 s in `rollout`; silence 5 s, 50 s."""

import pytest

from nemo_prorl.errors import DataError, HungRankError, PeerLostError, ShapeError
from nemo_prorl.verifiers.permission import UnconfinedError
from nemo_prorl.vigil.beat import Beat
from nemo_prorl.vigil.verdict import Seen, Verdict, absent, failed, judged, lost, survey


class Limits:
    def seconds_of(self, phase):
        return {"update": 10.0, "rollout": 100.0}[phase]

    def silence_of(self, phase):
        return self.seconds_of(phase) / 2


def seen(idle=0.0, *, phase="update", waits=False, silent=0.0):
    return Seen(Beat(phase, 7, idle, waits, "model.py:3 in forward"), silent, "process 1 on host")


def blamed(*ranks):
    verdict = judged(dict(enumerate(ranks)), Limits())
    return None if verdict is None else list(verdict.ranks)


def test_whoever_gets_on_is_left_alone():
    assert blamed(seen(), seen(9.0), seen(99.0, phase="rollout"), seen(4.0, silent=4.0)) is None
    assert judged({}, Limits()) is None


def test_one_that_stands_still_is_blamed_and_not_those_that_wait_for_it():
    assert blamed(seen(11.0, waits=True), seen(11.0)) == [1]
    verdict = judged({0: seen(11.0, waits=True), 1: seen(12.0)}, Limits())
    assert verdict is not None
    assert isinstance(verdict.as_error(), HungRankError)
    assert "rank 1 hangs, no progress" in verdict.text
    assert "phase update after step 7 for 12 s, at model.py:3 in forward" in verdict.text
    assert "rank 0 waits for it" in verdict.text


def test_waiting_long_for_one_that_works_is_no_fault():
    """Rank 0 has waited 90 s in a rollout that may take 100 s of the others; rank 1 still finishes completions."""
    assert blamed(seen(99.0, phase="rollout", waits=True), seen(1.0, phase="rollout")) is None
    assert blamed(seen(101.0, phase="rollout", waits=True), seen(1.0, phase="rollout")) is None


def test_where_all_wait_for_each_other_all_are_named():
    assert blamed(seen(11.0, waits=True), seen(11.0, waits=True)) == [0, 1]
    assert blamed(seen(11.0, waits=True), seen(9.0, waits=True)) is None


@pytest.mark.parametrize("phase", ["update", "rollout"])
def test_one_that_says_nothing_is_blamed_by_its_phases_limit(phase):
    limit = Limits().silence_of(phase)
    assert blamed(seen(phase=phase, silent=limit - 1), seen()) is None
    assert blamed(seen(phase=phase, silent=limit + 1), seen()) == [0]


def test_a_dead_rank_is_named_with_its_last_phase():
    verdict = lost(3, seen(silent=0.5))
    assert "rank 3 (process 1 on host; 0.5 s before in phase update after step 7" in verdict.text
    assert isinstance(verdict.as_error(), PeerLostError)
    assert "rank 3 has ended" in lost(3, None).text
    assert "ranks 1, 2 have not come within 20 minutes" in absent([1, 2], 20).text


def test_a_failure_keeps_its_class_where_another_rank_can_know_it():
    """An error of ours decides on the exit code of all; one of a class defined elsewhere counts as its nearest ours."""
    beat = seen().beat
    assert type(failed(1, beat, ShapeError("odd")).as_error()) is ShapeError
    assert failed(1, beat, UnconfinedError("no")).as_error().exit_code == 7
    bug = failed(1, beat, ValueError("a bug"))
    assert type(bug.as_error()) is PeerLostError
    assert "rank 1 failed in phase update after step 7, so every rank stops. ValueError: a bug" in bug.text


def test_a_verdict_travels():
    verdict = failed(1, seen().beat, DataError("torn"))
    assert Verdict.from_json(verdict.as_json()) == verdict


def test_a_survey_names_those_first_that_wait_for_nobody():
    text = survey({0: seen(waits=True), 1: seen()})
    assert text.index("rank 1") < text.index("rank 0")
