"""Requests to a live run: signals leave notes, files and clocks are looked at, and all ranks agree."""

import json
import os
import signal
import time

import pytest

from nemo_prorl import control
from nemo_prorl.control import RunControl, StopRequests, StopSignals, time_limit, until_asked
from nemo_prorl.errors import ConfigError, RolloutError, Stopped
from nemo_prorl.reset_requests import ResetRequests, ask_for_reset
from nemo_prorl.world import LocalWorld, gather_or_raise


class Ranks(LocalWorld):
    """Rank 0 of several, whose others give the same answer each time they are asked."""

    def __init__(self, *others):
        self.others = others

    def gather(self, value):
        return [value, *self.others]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_leaves_a_note_and_nothing_else(number, tmp_path):
    before = signal.getsignal(number)
    with StopSignals() as signals:
        asked = StopRequests(tmp_path, signals)
        assert asked() is None
        os.kill(os.getpid(), number)
        assert asked() == ("Ctrl-C" if number == signal.SIGINT else number.name)
    assert signal.getsignal(number) == before


def test_ctrl_c_twice_ends_at_once_unless_it_is_one_that_a_launcher_passed_on(monkeypatch):
    monkeypatch.setattr(control, "SECONDS_BETWEEN_INTERRUPTS", 0.2)
    with StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        assert signals.asked == "Ctrl-C"
        time.sleep(0.25)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_a_stop_file_is_looked_at_now_and_then(tmp_path, monkeypatch):
    monkeypatch.setattr(control, "SECONDS_BETWEEN_LOOKS", 0.1)
    asked = StopRequests(tmp_path, StopSignals())
    assert asked() is None
    (tmp_path / "STOP").write_text("maintenance\n")
    assert asked() is None
    time.sleep(0.11)
    assert asked() == "STOP file: maintenance"
    assert asked() == "STOP file: maintenance"


def test_time_is_up_a_margin_before_whichever_end_comes_first():
    """2 hours from now with a margin of 119.5 minutes: in half a minute. The job's end in 100 minutes: now."""
    assert time_limit(None, 10, {})() is None
    assert time_limit(2.0, 119.5, {})() is None
    assert "run.max_hours=2 are over in 120.0 minutes" in time_limit(2.0, 120.5, {})()
    end = str(int(time.time()) + 6000)
    assert "the Slurm job ends (SLURM_JOB_END_TIME) in" in time_limit(2.0, 119.5, {"SLURM_JOB_END_TIME": end})()
    with pytest.raises(ConfigError, match="SLURM_JOB_END_TIME='tomorrow'"):
        time_limit(None, 10, {"SLURM_JOB_END_TIME": "tomorrow"})


def test_what_is_being_sampled_is_closed_at_the_next_item():
    closed, reasons = [], iter([None, None, "SIGTERM"])

    def numbers():
        try:
            yield from range(10)
        finally:
            closed.append(True)

    seen = []
    with pytest.raises(Stopped, match="SIGTERM"):
        for number in until_asked(numbers(), lambda: next(reasons)):
            seen.append(number)
    assert (seen, closed) == ([0, 1], [True])
    assert list(until_asked(iter([1, 2]), lambda: None)) == [1, 2]


def test_every_rank_stops_when_one_is_asked(tmp_path):
    RunControl(tmp_path, Ranks(None)).stop_if_asked()
    with pytest.raises(Stopped, match="SIGUSR1"):
        RunControl(tmp_path, Ranks(None, "SIGUSR1")).stop_if_asked()


def test_a_stop_of_one_rank_goes_before_the_failure_of_another():
    """Were one to save and the other to leave, the first would wait for ever."""
    ranks = Ranks((None, (Stopped, "SIGTERM")))
    with pytest.raises(Stopped, match=r"^SIGTERM$"):
        gather_or_raise(ranks, None, RolloutError("my own failure"), "sampling")


def test_a_request_for_a_reset_is_obeyed_once_and_again_when_its_step_is_trained_again(tmp_path):
    run = RunControl(tmp_path, LocalWorld())
    assert run.reset_request(3) is None
    ask_for_reset(tmp_path, "KL looks odd")
    ask_for_reset(tmp_path, "so it does")
    request = run.reset_request(4)
    assert request.reason.startswith("KL looks odd (asked by ")
    assert "; so it does (asked by " in request.reason
    run.reset_is_done(request, 4)
    assert run.reset_request(5) is None
    assert [json.loads(p.read_text())["obeyed_after_step"] for p in tmp_path.glob("requests/done/*")] == [4, 4]
    resumed = RunControl(tmp_path, LocalWorld())  # from step 2
    ask_for_reset(tmp_path, "a new one")
    again = resumed.reset_request(4)
    assert again.reason == request.reason
    resumed.reset_is_done(again, 4)
    assert resumed.reset_request(5).reason.startswith("a new one")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"reason": 5}'])
def test_what_is_no_request_is_named_and_passed_over(tmp_path, caplog, text):
    ask_for_reset(tmp_path, "fine")
    (tmp_path / "requests" / "reset_0.json").write_text(text)
    assert ResetRequests(tmp_path).after(1).reason.startswith("fine")
    assert "reset_0.json is no request for a reset" in caplog.text
