"""What hangs is left behind, and what fails says so."""

import threading
import time

import pytest

from nemo_prorl.patience import ended_within


def test_what_hangs_is_left_behind():
    over = threading.Event()
    before = time.monotonic()
    assert not ended_within(0.05, lambda: over.wait(60.0))
    assert time.monotonic() - before < 30.0
    over.set()


def test_an_error_is_raised_where_somebody_waits():
    def work():
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError, match="gone"):
        ended_within(60.0, work)
