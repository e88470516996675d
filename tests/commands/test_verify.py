"""`prorl verify`, with a real pool: what goes in, what comes out, and the exit code."""

import json
import os
import subprocess
import sys

import pytest

from nemo_prorl.cli import main
from nemo_prorl.commands.verify import EXAMPLES
from tests.house.source import ROOT

RIGHT = {"uid": "a", "domain": "math", "answer": "2", "response": "1 + 1 is \\boxed{2}"}
TWO = {"domain": "math", "reference": {"answer": "1/2"}, "responses": ["\\boxed{3}", "\\boxed{0.5}", "No idea."]}
PROGRAM = {
    "uid": "p",
    "domain": "code",
    "reference": {"inputs": ["1 2\n", "2 2\n"], "outputs": ["3\n", "4\n"]},
    "response": "```python\nprint(3)\n```",
}
BROKEN = {"uid": "b", "domain": "math", "reference": {"no": "answer"}, "response": "\\boxed{2}"}


@pytest.fixture
def rows(tmp_path):
    def write(*rows):
        path = tmp_path / "responses.jsonl"
        path.write_text("".join(f"{row if isinstance(row, str) else json.dumps(row)}\n" for row in rows))
        return str(path)

    return write


def lines_of(text):
    return [json.loads(line) for line in text.splitlines()]


def test_every_response_gets_a_line_in_order_and_every_domain_one_in_the_table(rows, tmp_path, capsys):
    """math: 1, 0, 1 and 0 (no answer), mean 0.5; code: one of two tests."""
    output = tmp_path / "rewards.jsonl"
    assert main(["verify", rows(RIGHT, "", TWO, PROGRAM), "--output", str(output), "--workers", "2"]) == 0
    written = lines_of(output.read_text())
    found = [(line["uid"], line["sample"], line["domain"], line["reward"], line["outcome"]) for line in written]
    assert found == [
        ("a", 0, "math", 1.0, "scored"),
        ("line-3", 0, "math", 0.0, "scored"),
        ("line-3", 1, "math", 1.0, "scored"),
        ("line-3", 2, "math", 0.0, "no_answer"),
        ("p", 0, "code", 0.5, "scored"),
    ]
    assert "test 2: printed '3', expected '4'" in written[-1]["reason"]
    assert all(line["seconds"] > 0 and line["verifier"] == line["domain"] for line in written)
    head, code, math = capsys.readouterr().out.splitlines()
    assert " ".join(head.split()) == "domain responses mean reward scored no_answer timeout error p50 s p99 s"
    assert code.split()[:7] == ["code", "1", "0.5000", "1", "0", "0", "0"]
    assert math.split()[:7] == ["math", "4", "0.5000", "3", "1", "0", "0"]


def test_rewards_never_replace_the_responses(rows, tmp_path, capsys):
    path = rows(RIGHT)
    (tmp_path / "link").symlink_to(path)
    for output in (path, str(tmp_path / "link")):
        assert main(["verify", path, "--output", output]) == 2
        assert "is the file of responses itself" in capsys.readouterr().err
    assert lines_of((tmp_path / "responses.jsonl").read_text()) == [RIGHT]


def test_bad_rows_are_named_by_line_and_the_others_judged(rows, capsys):
    path = rows(
        RIGHT,
        "nonsense",
        "[1]",
        RIGHT | {"domain": "cooking"},
        RIGHT | {"responses": []},
        {key: RIGHT[key] for key in ("domain", "answer")},
        {"domain": "math", "answer": "2", "responses": [1]},
        {"answer": "2", "response": ""},
        RIGHT | {"uid": 7},
        {"doman": "math", "answer": "2", "response": ""},
        RIGHT | {"uid": "z"},
    )
    assert main(["verify", path, "--workers", "1"]) == 3
    out, err = capsys.readouterr()
    assert [line["uid"] for line in lines_of(out)] == ["a", "z"]
    told = [
        ("2", "is not JSON"),
        ("3", "is a list"),
        ("4", "'cooking' is unknown"),
        ("5", "either 'response', a text, or 'responses'"),
        ("6", "either 'response'"),
        ("7", "must be texts"),
        ("8", "'domain' is missing"),
        ("9", "'uid' must be a text"),
        ("10", "Did you mean 'domain'"),
    ]
    for number, words in told:
        assert any(f"{path}:{number}" in line and words in line for line in err.splitlines()), (number, err)
    assert "9 rows can't be read and were left out" in err


def test_references_at_fault_end_it_with_their_reason_after_all_is_written(rows, capsys):
    assert main(["verify", rows(RIGHT, BROKEN), "--workers", "1"]) == 7
    out, err = capsys.readouterr()
    assert [(line["reward"], line["outcome"]) for line in lines_of(out)] == [(1.0, "scored"), (0.0, "error")]
    assert "1 of its last 2 verdicts (50%)" in err and "reference.answer" in err
    assert main(["verify", rows(RIGHT, BROKEN), "--workers", "1", "--max-error-rate", "0.5"]) == 0


def test_a_row_may_leave_its_domain_and_verifier_to_the_command(rows, capsys):
    row = {"answer": "2", "response": "\\boxed{2}"}
    assert main(["verify", rows(row), "--workers", "1", "--domain", "stem", "--verifier", "math"]) == 0
    (line,) = lines_of(capsys.readouterr().out)
    assert (line["domain"], line["verifier"], line["reward"]) == ("stem", "math", 1.0)


def test_a_verifier_that_is_not_there_is_an_error_of_its_own(rows, capsys):
    assert main(["verify", rows(RIGHT | {"verifier": "nowhere:Nothing"}), "--workers", "1"]) == 7
    assert "nowhere:Nothing" in capsys.readouterr().err


def test_stdin_is_answered_while_more_may_come():
    """A line comes out before the next one goes in."""
    command = [sys.executable, "-m", "nemo_prorl", "verify", "-", "--domain", "math", "--workers", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment, text=True, **pipes) as process:
        for number in range(3):
            row = {"uid": str(number), "answer": "2", "response": f"\\boxed{{{number}}}"}
            process.stdin.write(json.dumps(row) + "\n")
            process.stdin.flush()
            line = json.loads(process.stdout.readline())
            assert (line["uid"], line["reward"]) == (str(number), float(number == 2))
        process.stdin.write("nonsense\n")
        out, err = process.communicate(timeout=60)
    assert process.returncode == 3
    assert out == "" and "stdin:4 is not JSON" in err and "math            3" in err


def test_a_dry_run_reads_and_judges_nothing(rows, capsys):
    assert main(["verify", rows(RIGHT, TWO, PROGRAM), "--dry-run"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "code: 1 responses for the verifier 'code'",
        "math: 4 responses for the verifier 'math'",
    ]
    assert main(["verify", rows(RIGHT, "nonsense"), "--dry-run"]) == 3


@pytest.mark.parametrize(
    ("arguments", "exit_code", "words"),
    [
        (["nowhere.jsonl"], 3, "no such file"),
        ([__file__, "--output", "/nowhere/rewards.jsonl"], 2, "can't be written"),
    ],
)
def test_files_that_are_not_there_are_told(arguments, exit_code, words, capsys):
    assert main(["verify", *arguments]) == exit_code
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [[], ["x", "--workers", "0"], ["x", "--deadline-seconds", "0"], ["x", "--max-error-rate", "2"]]
)
def test_options_out_of_range_are_refused(arguments, capsys):
    with pytest.raises(SystemExit) as error:
        main(["verify", *arguments])
    assert error.value.code == 2


def test_help_shows_rows_that_work(rows, tmp_path, capsys):
    with pytest.raises(SystemExit) as leaving:
        main(["verify", "--help"])
    assert leaving.value.code == 0
    assert EXAMPLES in capsys.readouterr().out
    shown = [line.strip() for line in EXAMPLES.splitlines() if line.strip().startswith('{"') and line.endswith("}")]
    output = tmp_path / "rewards.jsonl"
    assert main(["verify", rows(*shown), "--output", str(output), "--workers", "1"]) == 0
    assert [line["reward"] for line in lines_of(output.read_text())] == [1.0, 0.0, 0.0]
