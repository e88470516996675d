"""The fixtures: records of each source as published, written by us."""

from pathlib import Path

import pytest

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture
def fixtures() -> Path:
    return FIXTURES
