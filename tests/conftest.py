"""For all tests: a failure is named at once, so that a run that is ended early has told of it."""

import pytest


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed and (terminal := _terminal.get("reporter")) is not None:
        last = str(report.longrepr).strip().splitlines()[-1:]
        terminal.write_line(f"\n{report.when} of {report.nodeid} FAILED: {''.join(last)}")


_terminal: dict[str, pytest.TerminalReporter] = {}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Only the process that has a terminal prints: under pytest-xdist the workers have none."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        _terminal["reporter"] = reporter
