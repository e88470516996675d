"""Logging: who is heard where."""

import logging
import warnings
from datetime import datetime

import pytest

from nemo_prorl.errors import ConfigError
from nemo_prorl.telemetry.log import configure_logging, configure_run_logging


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
    logging.getLogger("megatron.core.utils").warning("transformer engine is missing")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old habits", FutureWarning, stacklevel=1)
    logging.getLogger("megatron.core").error("this one matters")
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


def test_a_run_folder_that_can_not_be_logged_to_is_refused_and_the_log_stays(configured, tmp_path):
    file = configured(0)
    run_dir = tmp_path / "run"
    run_dir.write_text("a file")
    with pytest.raises(ConfigError, match=rf"run.dir={run_dir} can't be used: .*; choose another run.dir"):
        configure_run_logging(run_dir, "INFO")
    logging.getLogger("nemo_prorl").info("still here")
    assert "still here" in file.read_text()
