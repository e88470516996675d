"""docs/evaluation.md says what happens: its commands run, its program prints what is there, its settings exist."""

import os
import re
import shlex
import subprocess
import sys

import pytest

from nemo_prorl.cli import main
from nemo_prorl.config.evaluate import EvaluateConfig
from nemo_prorl.config.folder import conf_folder
from nemo_prorl.evaluation.folder import PROBLEM_COLUMNS, SAMPLE_COLUMNS
from tests.evaluation.examples import example_analysis
from tests.house.source import ROOT

TEXT = (ROOT / "docs" / "evaluation.md").read_text()
COMMANDS = re.findall(r"^    (prorl .*)$", TEXT, re.MULTILINE)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("documented")
    example_analysis(path / "evaluations", samples=4)
    (path / "CORPUS").mkdir()
    (path / "CORPUS" / "a.txt").write_text("Let me think. Let me think.")
    return path


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("prorl evaluate")])
def test_an_evaluation_that_is_shown_can_be_planned(command, capsys):
    arguments = shlex.split(command)[1:]
    assert main([*(one for one in arguments if one != "--dry-run"), "--dry-run"]) == 0
    assert capsys.readouterr().out.startswith("model  ")


@pytest.mark.parametrize("command", [command for command in COMMANDS if command.startswith("prorl analyze")])
def test_an_analysis_that_is_shown_runs(command, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    assert main(shlex.split(command)[1:]) == 0
    assert "# The boundary of reasoning" in capsys.readouterr().out


def test_the_program_prints_every_set(place):
    (program,) = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    assert "codeforces 12 [1, 2, 4]" in done.stdout.splitlines()


def test_every_setting_of_the_table_has_the_default_it_says():
    config = EvaluateConfig.model_validate({"model": {"path": "x"}, "benchmarks": {"a": {"name": "jsonl"}}})
    assert (config.sampling.samples_per_prompt, config.sampling.temperature, config.sampling.top_p) == (16, 0.6, 0.95)
    assert (config.sampling.max_response_tokens, config.sampling.problems_per_part) == (32_768, 8)
    for name in re.findall(r"`((?:sampling|scores)\.\w+)`", TEXT):
        group, key = name.split(".")
        assert key in type(getattr(config, group)).model_fields, name


def test_every_choice_of_benchmarks_and_every_column_is_named():
    assert all(f"`{path.stem}`" in TEXT for path in (conf_folder() / "benchmarks").glob("*.yaml"))
    assert all(f"`{column}`" in TEXT for column in (*PROBLEM_COLUMNS, *SAMPLE_COLUMNS))
