from __future__ import annotations

from pathlib import Path

import pytest

from nemo_prorl.quickstart.tiny_model import make_tiny_model
from tests.end_to_end.runs import write_problems


def make_babbler(folder: Path, seed: int = 3) -> Path:
    """A Qwen2 model of two layers that babbles."""
    return make_tiny_model(folder, seed=seed, hidden_size=32, layers=2, heads=4, kv_heads=2, ffn_size=64)


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_babbler(tmp_path_factory.mktemp("model") / "babbler")


@pytest.fixture(scope="session")
def problems(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_problems(tmp_path_factory.mktemp("problems") / "problems.jsonl")
