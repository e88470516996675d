"""`prorl analyze`: what goes in, what comes out, and the exit code."""

import pytest

from nemo_prorl.analysis.records import Analysis
from nemo_prorl.cli import main
from tests.evaluation.examples import example_analysis


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("analysis")
    example_analysis(path, samples=4)
    return path


def test_three_evaluations_become_an_analysis_and_words(place, tmp_path, capsys):
    (tmp_path / "corpus").mkdir()
    (tmp_path / "corpus" / "a.txt").write_text("Let me think. Let me think. The answer is here.")
    folders = [str(place / role) for role in ("base", "middle", "final")]
    output = tmp_path / "out"
    options = ["--output", str(output), "--corpus", str(tmp_path / "corpus"), "--responses", "3", "--boundary-k", "2"]
    assert main(["analyze", *folders, *options]) == 0
    analysis = Analysis.read(output)
    assert analysis.k == 2 and set(analysis.models) == {"base", "middle", "final"}
    said = capsys.readouterr()
    assert said.out.strip() == (output / "analysis.md").read_text().strip()
    assert "| codeforces |" in said.out and "creativity index and gain: Pearson" in said.out
    assert "done: creativity of final on aime_2024" in said.err


def test_a_plan_says_which_sets_there_are(place, tmp_path, capsys):
    folders = [str(place / role) for role in ("base", "final")]
    assert main(["analyze", "--dry-run", *folders, "--output", str(tmp_path / "x")]) == 0
    assert capsys.readouterr().out.splitlines()[1].startswith("final   final: aime_2024, codeforces")
    assert not (tmp_path / "x").exists()


def test_a_folder_without_an_evaluation_is_bad_data(place, tmp_path, capsys):
    assert main(["analyze", str(place / "base"), str(tmp_path), "--output", str(tmp_path / "x")]) == 3
    assert "manifest.json: there is no such file; run `prorl evaluate` first" in capsys.readouterr().err


@pytest.mark.parametrize("count", [1, 4])
def test_two_or_three_folders_are_compared(place, tmp_path, count, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["analyze", *[str(place / "base")] * count, "--output", str(tmp_path)])
    assert f"two or three folders are compared; found {count}" in capsys.readouterr().err
