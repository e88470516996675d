"""For all tests: a failure is named at once, what a C compiler made is made once a session, and Ctrl-C is heard."""

import os
import signal
import tempfile
import threading
from pathlib import Path

import pytest

# cc, which remembers what it made of all arguments but the name after -o.
COMPILER = """\
#!/bin/sh
wanted= before= output=
for argument in "$@"; do
    if [ "$before" = -o ]; then output=$argument; else wanted="$wanted $argument"; fi
    before=$argument
done
made="{folder}/$(printf %s "$wanted" | cksum | tr ' ' _)"
if [ ! -e "$made" ]; then
    cc "$@" || exit
    cp "$output" "$made.$$" && mv "$made.$$" "$made"
else
    cp "$made" "$output"
fi
"""


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """A run that is ended early has told what failed."""
    if report.failed and (terminal := _terminal.get("reporter")) is not None:
        last = str(report.longrepr).strip().splitlines()[-1:]
        terminal.write_line(f"\n{report.when} of {report.nodeid} FAILED: {''.join(last)}")


_terminal: dict[str, pytest.TerminalReporter] = {}


def pytest_sessionstart(session: pytest.Session) -> None:
    """Only the process that has a terminal prints: under pytest-xdist the workers have none."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is not None and not hasattr(session.config, "workerinput"):
        _terminal["reporter"] = reporter


def pytest_configure(config: pytest.Config) -> None:
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        # A shell that starts tests in the background has them, and all that they start, ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if hasattr(config, "workerinput") or "CC" in os.environ:
        return  # the session's first process has done it for its workers, or somebody has a compiler of his own
    folder = tempfile.TemporaryDirectory(prefix="compiled_")
    config.add_cleanup(folder.cleanup)
    compiler = Path(folder.name) / "cc"
    compiler.write_text(COMPILER.format(folder=folder.name))
    compiler.chmod(0o755)
    os.environ["CC"] = str(compiler)
    config.add_cleanup(lambda: os.environ.pop("CC"))
