"""Ten steps whose numbers are kept: a change that is meant to change nothing must reproduce them.

After a change that is meant to change them, write them anew and say why in the commit:

    python -m tests.end_to_end.test_golden
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest

from tests.end_to_end.conftest import make_babbler
from tests.end_to_end.runs import SCRIPTED, finish, records, settings, write_problems

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

STORED = Path(__file__).parents[1] / "golden" / "ten_steps.json"
KEPT = ("policy/total_loss", "policy/entropy", "kl/reference", "optimizer/grad_norm", "reward/sampled_mean")


def ten_steps(model: Path, problems: Path, folder: Path) -> list[dict[str, float]]:
    """Scripted answers, so that no sampled token depends on the last bit of a machine's arithmetic."""
    finish(settings(model, problems, folder / "run", *SCRIPTED, steps=10), folder / "logs")
    return [{key: record[key] for key in KEPT} for record in records(folder / "run")]


def test_ten_steps_give_the_stored_numbers(model: Path, problems: Path, tmp_path: Path) -> None:
    stored = json.loads(STORED.read_text())
    for step, (found, wanted) in enumerate(zip(ten_steps(model, problems, tmp_path), stored, strict=True), start=1):
        assert found == pytest.approx(wanted, rel=1e-3, abs=1e-5), f"step {step}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        found = ten_steps(make_babbler(folder / "model"), write_problems(folder / "problems.jsonl"), folder)
    STORED.write_text(json.dumps(found, indent=1) + "\n")
