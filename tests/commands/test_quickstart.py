"""The quickstart's plan: which commands, in which order, from which folder to which; and the whole of it, in small."""

import json
import os
import re
import shlex
import signal
import sys
import threading
import time
from pathlib import Path

import pytest

from nemo_prorl.commands.quickstart import exit_code_of, jobs, run
from nemo_prorl.config.load import load_config
from nemo_prorl.errors import ConfigError
from tests.house.source import ROOT


def value(job, key):
    (found,) = [override.partition("=")[2] for override in job.overrides if override.startswith(key + "=")]
    return shlex.split(found)[0]


@pytest.mark.parametrize("fast", [False, True])
def test_each_job_starts_from_what_the_one_before_exports(tmp_path, fast):
    careful, hasty, prorl = jobs(tmp_path, 3, fast=fast)
    assert value(careful, "model.path") == str(tmp_path / "model")
    assert value(hasty, "model.path") == value(careful, "run.dir") + "/export"
    assert value(prorl, "model.path") == value(hasty, "run.dir") + "/export"
    assert all(value(job, "run.dir") + "/export" == str(job.export) for job in (careful, hasty, prorl))
    assert [job.command for job in (careful, hasty, prorl)] == ["sft", "sft", "train"]
    assert {value(job, "run.seed") for job in (careful, hasty, prorl)} == {"3"}
    assert value(hasty, "sft.source.seed") == "1003"


def test_a_job_is_an_ordinary_command_of_this_python(tmp_path):
    assert jobs(tmp_path, 0, fast=False)[2].arguments[:4] == [sys.executable, "-m", "nemo_prorl", "train"]


def test_a_folder_with_blanks_and_quotes_stays_one_value(tmp_path):
    careful = jobs(tmp_path / "it's my, run", 0, fast=False)[0]
    assert f"run.dir='{tmp_path}/it\\'s my, run/careful'" in careful.overrides


def test_a_dry_run_prints_every_command_and_touches_nothing(tmp_path, capsys):
    out = tmp_path / "quick"
    assert run(["--out", str(out), "--seeds", "2"], dry_run=True) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines] == ["sft", "sft", "train"] * 2
    assert "seed_1/prorl" in lines[-1]
    assert not out.exists()


def test_a_folder_made_with_other_settings_is_refused(tmp_path):
    note = {"seed": 7, "seeds": 1, "fast": True}
    (tmp_path / "quickstart.json").write_text(json.dumps(note))
    with pytest.raises(ConfigError, match=r"'seed': 7.*another --out"):
        run(["--out", str(tmp_path), "--fast"])


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--seeds", "0"], ["--seed", "900", "--seeds", "2"]])
def test_a_seed_that_would_meet_the_held_out_problems_is_refused(arguments):
    with pytest.raises(ConfigError, match=r"0\.\.900"):
        run(arguments, dry_run=True)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="can't be written"):
        run(["--out", str(tmp_path / "file" / "below"), "--fast"])


@pytest.mark.parametrize(("program", "code"), [("raise SystemExit(3)", 3), ("import os; os.kill(os.getpid(), 9)", 137)])
def test_a_training_that_a_signal_has_killed_is_not_taken_for_one_that_failed(program, code):
    """Signal 9 isn't exit code 9, which says that the run's folder can't be written."""
    assert exit_code_of([sys.executable, "-c", program]) == code


def test_ctrl_c_waits_for_the_training_to_save(tmp_path):
    """The program takes a moment after it was asked, longer than Python's own quarter of a second."""
    program = (
        "import pathlib, signal, sys, time\n"
        "asked = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: asked.append(1))\n"
        "pathlib.Path(sys.argv[1]).touch()\n"
        "while not asked: time.sleep(0.01)\n"
        "time.sleep(0.5)\n"
        "raise SystemExit(75)\n"
    )
    is_ready = tmp_path / "ready"

    def interrupt():
        while not is_ready.exists():
            time.sleep(0.01)
        time.sleep(0.2)  # by now it is waited for
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    assert exit_code_of([sys.executable, "-c", program, str(is_ready)]) == 75


@pytest.mark.end_to_end
def test_the_whole_quickstart_in_small_writes_its_report_and_goes_on_where_it_stopped(tmp_path):
    arguments = ["--out", str(tmp_path), "--fast"]
    assert run(arguments) == 0
    text = (tmp_path / "report.md").read_text()
    assert "| **mean over tasks** |" in text
    assert "| pass@1 | careful cold start | spoiled: before ProRL | after ProRL |" in text
    assert "due every 2" in text
    assert "The right answer is" in text
    assert "<title>ProRL quickstart</title>" in (tmp_path / "report.html").read_text()
    metrics = tmp_path / "seed_0" / "prorl" / "metrics.jsonl"
    before = metrics.read_text()
    assert run(arguments) == 0
    assert metrics.read_text() == before


def test_make_demo_evaluates_models_that_the_quickstart_leaves():
    """An export of the cold start, a checkpoint that is kept, the last export: its paths are the quickstart's."""
    recipe = (ROOT / "Makefile").read_text().partition("\ndemo:")[2].partition("\n\n")[0]
    models = re.findall(r"DEMO_EVALUATE,\$\((DEMO|DEMO_RUN)\)/(\S+),(\w+)\)", recipe)
    _, hasty, prorl = jobs(Path("DEMO/seed_0"), 0, fast=False)
    base, middle, final = (Path("DEMO/seed_0/prorl" if root == "DEMO_RUN" else root, path) for root, path, _ in models)
    assert [name for *_, name in models] == ["base", "middle", "final"]
    assert (base, final) == (hasty.export, prorl.export)
    config = load_config("train", [*prorl.overrides])
    every, last = config.checkpoint.every_steps, config.recipe.stages["quickstart"].steps
    kept = range(last, last - every * config.checkpoint.keep_last, -every)
    assert middle.parent == prorl.export.parent / "checkpoints"
    assert middle.name in {f"iter_{step:07d}" for step in kept} - {f"iter_{last:07d}"}
