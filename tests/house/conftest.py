import os
import subprocess
import sys

import pytest

from tests.house.source import ROOT


@pytest.fixture
def run_python():
    """What a Python program prints, run in a fresh process that finds the package."""

    def run(code: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    return run
