"""Logging: who is heard where."""

import logging
import warnings
from datetime import datetime

import pytest

from nemo_prorl.telemetry import log
from nemo_prorl.telemetry.log import configure_logging, hold_records


@pytest.fixture
def configured(tmp_path):
    """Configure for a rank; afterwards the logging of the tests is as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), logging.getLogger("nemo_prorl").level

    def configure(rank, level="INFO"):
        file = tmp_path / "logs" / f"rank_{rank:05d}.log"
        configure_logging(rank, level, file)
        return file

    yield configure
    for handler in [handler for handler in root.handlers if handler not in handlers]:
        root.removeHandler(handler)
        handler.close()
    logging.getLogger("nemo_prorl").setLevel(level)
    logging.captureWarnings(False)


def test_a_line_has_time_rank_level_and_name(configured, capsys):
    file = configured(0)
    logging.getLogger("nemo_prorl.somewhere").info("hello %d", 3)
    logging.getLogger("nemo_prorl.somewhere").warning("mind")
    kept, console = file.read_text().splitlines(), capsys.readouterr().err.splitlines()
    assert [line[19:] for line in kept] == [
        " rank 0 INFO nemo_prorl.somewhere: hello 3",
        " rank 0 WARNING nemo_prorl.somewhere: mind",
    ]
    assert [line[19:] for line in console] == [" rank 0 | hello 3", " rank 0 WARNING nemo_prorl.somewhere: mind"]
    assert all(datetime.strptime(line[:19], "%Y-%m-%d %H:%M:%S") for line in (*kept, *console))


def test_other_libraries_warn_into_the_file_only(configured, capsys):
    file = configured(0)
    logging.getLogger("another_library.utils").warning("transformer engine is missing")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old habits", FutureWarning, stacklevel=1)
    logging.getLogger("another_library").error("this one matters")
    console = capsys.readouterr().err
    assert "transformer engine" in file.read_text()
    assert "transformer engine" not in console
    assert "this one matters" in console


def test_other_ranks_are_quiet_on_the_console_but_not_in_their_file(configured, capsys):
    file = configured(3)
    logging.getLogger("nemo_prorl").info("step")
    logging.getLogger("nemo_prorl").warning("mind this")
    console = capsys.readouterr().err
    assert "step" not in console
    assert "rank 3 WARNING nemo_prorl: mind this" in console
    assert "rank 3 INFO nemo_prorl: step" in file.read_text()


def test_the_level_is_ours_alone(configured, capsys):
    configured(0, "DEBUG")
    logging.getLogger("nemo_prorl.x").debug("ours")
    logging.getLogger("elsewhere").debug("theirs")
    console = capsys.readouterr().err
    assert "ours" in console
    assert "theirs" not in console


def test_configuring_again_replaces_instead_of_doubling(configured, capsys):
    configured(0)
    configured(0)
    logging.getLogger("nemo_prorl").info("once")
    assert capsys.readouterr().err.count("once") == 1


def test_a_file_that_can_not_be_written_is_refused_and_the_log_stays(configured, tmp_path):
    file = configured(0)
    (tmp_path / "in_the_way").write_text("a file")
    with pytest.raises(OSError, match="in_the_way"):
        configure_logging(0, "INFO", tmp_path / "in_the_way" / "rank_00000.log")
    logging.getLogger("nemo_prorl").info("still here")
    assert "still here" in file.read_text()


def test_what_was_said_before_the_file_was_known_is_in_it(configured, capsys):
    hold_records(1, "INFO")
    logging.getLogger("nemo_prorl").info("early")
    logging.getLogger("elsewhere").warning("theirs")
    file = configured(1)
    logging.getLogger("nemo_prorl").info("late")
    said = file.read_text()
    assert [said.count(word) for word in ("early", "theirs", "late")] == [1, 1, 1]
    assert said.index("early") < said.index("late")
    assert "early" not in capsys.readouterr().err


def test_of_what_is_held_for_a_file_that_stays_away_the_newest_is_kept(configured, monkeypatch):
    monkeypatch.setattr(log, "HELD_AT_MOST", 3)
    hold_records(1, "INFO")
    for number in range(5):
        logging.getLogger("nemo_prorl").info("record %d", number)
    assert [line[-1] for line in configured(1).read_text().splitlines()] == ["2", "3", "4"]
