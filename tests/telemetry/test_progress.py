"""The line of a step, and a bar that doesn't break it."""

import io
import logging
from contextlib import redirect_stderr

import pytest

from nemo_prorl.telemetry.log import configure_logging
from nemo_prorl.telemetry.progress import Progress, line_of


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    def isatty(self):
        return True


@pytest.fixture
def logging_kept():
    """Afterwards the logging of the tests is as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), logging.getLogger("nemo_prorl").level
    yield
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    logging.getLogger("nemo_prorl").setLevel(level)
    logging.captureWarnings(False)


def test_a_line_tells_the_step_in_a_fixed_order():
    values = {
        "time/step_seconds": 3.25,
        "optimizer/lr": 1.5e-4,
        "optimizer/grad_norm": 0.5,
        "rollout/response_tokens_mean": 24.04,
        "kl/reference": 0.0021,
        "policy/entropy": 0.31,
        "reward/kept_mean": 0.48,
        "reward/sampled_mean": 0.41,
        "rollout/anything_else": 1.0,
    }
    assert line_of(7, 90, "s1", values) == (
        "step  7/90 s1 | reward 0.410 | kept 0.480 | entropy 0.310 | KL 0.0021 | tokens 24.0 | grad 0.500 | "
        "lr 1.5e-04 | seconds 3.2"
    )


def test_a_skipped_step_says_so():
    assert line_of(3, 9, "s1", {"rollout/step_left_out": 1.0, "reward/sampled_mean": 0.0}) == (
        "step 3/9 s1 | too few groups taught, policy unchanged | reward 0.000"
    )


def test_lines_go_through_the_log_and_only_the_main_rank_speaks(caplog):
    with caplog.at_level(logging.INFO, "nemo_prorl"):
        for is_main in (True, False):
            with Progress(2, is_main=is_main, stream=io.StringIO()) as progress:
                progress.resume(0)
                progress.step(1, "s1", {"reward/sampled_mean": 0.5})
                progress.say("hello")
    assert [record.getMessage() for record in caplog.records] == ["step 1/2 s1 | reward 0.500", "hello"]


def test_without_a_terminal_no_bar_is_drawn():
    stream = io.StringIO()
    with Progress(2, is_main=True, stream=stream) as progress:
        progress.resume(0)
        progress.step(1, "s1", {})
    assert stream.getvalue() == ""


def test_a_bar_leaves_log_lines_whole(logging_kept, tmp_path):
    """What a terminal shows of a row in the end, after its carriage returns, is the log line itself."""
    terminal = Terminal()
    with redirect_stderr(terminal):
        configure_logging(0, "INFO", tmp_path / "rank_0.log")
        with Progress(10, is_main=True) as progress:
            progress.resume(6)
            for step in range(7, 11):
                progress.step(step, "s1", {"reward/sampled_mean": step / 10})
    rows = [row.split("\r")[-1] for row in terminal.getvalue().split("\n")]
    lines = [row for row in rows if " | step" in row]
    assert [line.partition(" rank 0 | ")[2] for line in lines] == [
        f"step {step:>2}/10 s1 | reward {step / 10:.3f}" for step in range(7, 11)
    ]
    assert all(line.startswith("20") for line in lines)
    assert "6/10" in terminal.getvalue()  # the bar, where the resumed run stands
