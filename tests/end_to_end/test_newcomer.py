"""A newcomer's first session, as docs/quickstart.md has it: one's own reward, a run, a stop, a change, an export."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nemo_prorl.cli import main
from tests.docs.pages import blocks_of
from tests.end_to_end.forked import status
from tests.house.source import ROOT
from tests.tiny_models import tiny_hf_folder

pytestmark = pytest.mark.end_to_end


@pytest.fixture
def workplace(tmp_path, monkeypatch):
    """A folder with a model in it and nothing of this repository."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))  # a command puts the folder on it
    tiny_hf_folder("model", max_position_embeddings=512)
    return tmp_path


def train(workplace, *settings):
    """`prorl train` in a process of its own, as one types it there."""
    command = ["-m", "nemo_prorl", "train", "recipe=tiny", "data=math", "data.sources.math.path=problems.jsonl"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with (workplace / "said.txt").open("ab") as said:
        return subprocess.Popen(
            [sys.executable, *command, "model.path=model", "run.dir=runs/even", *settings],
            cwd=workplace,
            env=environment,
            stdout=said,
            stderr=said,
        )


def finish(run, workplace, expected):
    try:
        code = run.wait(timeout=240)
    finally:
        run.kill()
    assert code == expected, (workplace / "said.txt").read_text()


def files_of_the_page():
    for block in blocks_of(ROOT / "docs" / "quickstart.md"):
        if block.language == "python":
            yield "even.py", block.text
        elif block.language == "jsonl":
            yield "problems.jsonl", block.text


def rows(path):
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_a_first_session(workplace, capfd):
    # A verifier in one file, and problems that name it.
    for name, text in files_of_the_page():
        Path(name).write_text(text)
    assert main(["data", "validate", "problems.jsonl"]) == 0
    problem = rows("problems.jsonl")[0]
    Path("responses.jsonl").write_text(json.dumps(problem | {"responses": ["4", "It is 7.", "four"]}) + "\n")
    assert main(["verify", "responses.jsonl", "--output", "rewards.jsonl", "--workers", "1"]) == 0
    assert [(row["reward"], row["outcome"]) for row in rows("rewards.jsonl")] == [
        (1.0, "scored"),
        (0.0, "scored"),
        (0.0, "no_answer"),
    ]

    # Look before, run, look, stop.
    plan = ["recipe=tiny", "data=math", "data.sources.math.path=problems.jsonl", "model.path=model", "--dry-run"]
    assert main(["train", *plan]) == 0
    assert "tiny_second" in capfd.readouterr().out
    run_dir = workplace / "runs" / "even"
    run = train(workplace, "recipe.stages.tiny_first.steps=200")
    deadline = time.monotonic() + 240
    while (status(run_dir)["step"] or 0) < 1 and run.poll() is None:
        assert time.monotonic() < deadline, (workplace / "said.txt").read_text()
        time.sleep(0.05)
    assert main(["stop", str(run_dir)]) == 0
    finish(run, workplace, expected=75)
    done = status(run_dir)["step"]
    assert 1 <= done < 200
    assert {"reward", "reason"} <= rows(run_dir / "samples.jsonl")[0].keys()

    assert main(["report", str(run_dir)]) == 0
    assert "<title>even</title>" in (run_dir / "report.html").read_text()

    # Change a reward, and go on: the same line, with what differs.
    changed = ("recipe.stages.tiny_second.steps=1", "+recipe.stages.tiny_second.shaping.cut.name=termination_penalty")
    finish(train(workplace, f"recipe.stages.tiny_first.steps={done + 1}", *changed), workplace, expected=0)
    steps = [row for row in rows(run_dir / "metrics.jsonl") if row["kind"] == "train"]
    assert [row["step"] for row in steps] == list(range(1, done + 3))
    assert ["shaping/cut/change_mean" in row for row in steps] == [False] * (done + 1) + [True]
    assert [row["kind"] for row in rows(run_dir / "metrics.jsonl")].count("reset") == 1

    # The export is a folder like any other.
    capfd.readouterr()
    assert main(["convert", "info", str(run_dir / "export")]) == 0
    assert "Hugging Face" in capfd.readouterr().out
