"""`prorl data`: what a user types, from raw records to scored rollouts."""

import json
import signal
import subprocess
import sys
import time

import pytest

from nemo_prorl.cli import main
from nemo_prorl.config.load import load_config
from nemo_prorl.data.prepare.manifest import Manifest
from nemo_prorl.data.prompt import DOMAINS
from nemo_prorl.data.quality.answers import right_response
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.quickstart.tiny_model import make_tokenizer
from nemo_prorl.recipe import Stage
from nemo_prorl.rollout.collector import Collector
from nemo_prorl.rollout.scripted_engine import ScriptedEngine
from nemo_prorl.verifiers.configured_pool import verifier_pool
from nemo_prorl.world import LocalWorld
from tests.data.prepare.conftest import FIXTURES
from tests.data.prepare.judge_server import Say, judge_server
from tests.house.source import ROOT

PUBLISHED = ("deepscaler", "eurus_code", "llama_nemotron_if")
FOLDERS = [f"sources.{name}.folder={FIXTURES / name}" for name in PUBLISHED]
FLAGS = [f"sources.scp116k.folder={FIXTURES / 'scp116k' / 'flags'}", "sources.scp116k.agreement=flags"]
# Without the processes of verifiers.
CHEAP = ["quality.own_reference=[]"]
JUDGE = [
    *CHEAP,
    "only=[scp116k]",
    f"sources.scp116k.folder={FIXTURES / 'scp116k' / 'judge'}",
    "judge.first_wait_seconds=0.01",
]
# Two of the 96 tasks.
FEW = ["+sources.reasoning_gym.tasks={chain_sum: {}, graph_color: {}}", "sources.reasoning_gym.training_problems=6"]
FEW += ["sources.reasoning_gym.validation_problems_per_task=2"]


STAGE = Stage("main", 12, 4, 2, SamplingParams(2, max_response_tokens=400, context_tokens=4096), kl_weight=0.0)
PROGRAMS = {
    "print their sum": "print(sum(map(int, input().split())))",
    "largest element": "def largest(numbers):\n    return max(numbers)",
    "backwards": "print(input()[::-1])",
}
WRITING = {
    "machine learning": "One.\n***\nTwo.\n***\nThree.",
    "sunrise": "Red light grows.",
    "picnic": "word " * 60,
    "joke": "Knock knock. That is all.",
}


def right_answer(prompt):
    """What the fixtures' problems want to hear."""
    question = prompt.messages[-1]["content"]
    if prompt.domain == "code":
        return next(f"```python\n{program}\n```" for words, program in PROGRAMS.items() if words in question)
    if prompt.domain == "instruction":
        return next(text for words, text in WRITING.items() if words in question)
    return right_response(prompt)


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def verdict_of(problem, asked):
    """What the fixtures' model got wrong is a period of 0.2 s."""
    return Say(f"They are compared.\nVERDICT: {'DIFFERENT' if 'period' in problem else 'SAME'}")


def test_a_dry_run_says_where_from_how_many_and_under_which_licence(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "some key")
    assert main(["data", "prepare", "--dry-run", f"folder={tmp_path / 'new'}"]) == 0
    shown = capsys.readouterr().out
    for words in (
        "agentica-org/DeepScaleR",
        "<= 24,000",
        "25,000",
        "made here",
        "NOT for commercial use",
        "judged by gpt-4o",
    ):
        assert words in shown
    assert "some key" not in shown and not (tmp_path / "new").exists()


def test_a_missing_key_is_told_before_hours_of_work(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    assert main(["data", "prepare", f"folder={tmp_path}"]) == 2
    assert "OPENAI_API_KEY has no key" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    assert main(["data", "prepare", "--dry-run"]) == 0, "the plan is there to be read by anybody"
    shown = capsys.readouterr().out
    assert "agentica-org/DeepScaleR" in shown and "OPENAI_API_KEY has no key" in shown


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("only=[deepscalar]", "only=['deepscalar'] names deepscalar; the sources are deepscaler, eurus_code"),
        (
            "sources.deepscaler.instructions=x",
            "sources.deepscaler.instructions is not a knob of DeepScaleR. Did you mean",
        ),
        ("sources.deepscaler.name=deepscalar", "Did you mean 'deepscaler'?"),
        ("folders=x", "prorl data prepare found a problem with its settings"),
        ("sources.eurus_code.max_test_bytes=0", "greater than or equal to 1"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_read(override, message, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "some key")
    assert main(["data", "prepare", override]) == 2
    assert message in capsys.readouterr().err


def test_a_source_that_fails_does_not_keep_the_others_from_it(tmp_path, capsys):
    settings = ["only=[deepscaler,llama_nemotron_if]", *FOLDERS, "sources.deepscaler.folder=missing", *CHEAP]
    assert main(["data", "prepare", f"folder={tmp_path}", *settings]) == 3
    assert "deepscaler: folder='missing' of DeepScaleR-Preview isn't there" in capsys.readouterr().err
    assert len(lines_of(tmp_path / "llama_nemotron_if.jsonl")) == 4


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """All five sources, from the fixtures and two tasks of reasoning-gym."""
    folder = tmp_path_factory.mktemp("prepared")
    assert main(["data", "prepare", f"folder={folder}", *FOLDERS, *FLAGS, *FEW]) == 0
    return folder


def test_every_source_is_written_counted_and_described(prepared):
    manifests = {manifest.name: manifest for manifest in Manifest.read_all(prepared)}
    assert {name: manifest.rows for name, manifest in manifests.items()} == {
        "deepscaler": 5,
        "eurus_code": 3,
        "llama_nemotron_if": 4,
        "reasoning_gym": 10,
        "scp116k": 4,
    }
    for manifest in manifests.values():
        assert manifest.records == manifest.kept + sum(sum(found.values()) for found in manifest.rejected.values())
    nemotron = manifests["llama_nemotron_if"]
    assert nemotron.rejected["answers"] == {"not verifiable": 2}
    assert manifests["deepscaler"].rejected["same question"] == {"asked before": 1}
    details = [line["detail"] for line in lines_of(prepared / "llama_nemotron_if.rejected.jsonl")]
    assert any("num_bullets is 'three'" in detail for detail in details), "arguments have types"
    assert any("'made_up:instruction', which no check is known for" in detail for detail in details)
    assert manifests["scp116k"].card.licence == "CC-BY-NC-SA-4.0"
    assert manifests["deepscaler"].identity["settings"]["instruction"].endswith("within \\boxed{}.")


def test_the_licence_is_said_when_scp116k_is_prepared(tmp_path, capsys):
    assert main(["data", "prepare", "only=[scp116k]", f"folder={tmp_path}", *FLAGS, *CHEAP]) == 0
    said = capsys.readouterr()
    assert "NOT for commercial use" in said.err and "CC-BY-NC-SA-4.0" in said.out


def test_a_judge_decides_where_it_is_asked_to(tmp_path, capsys):
    with judge_server(verdict_of) as server:
        settings = [f"folder={tmp_path}", f"judge.base_url={server.url}", *JUDGE]
        assert main(["data", "prepare", *settings]) == 0
        assert main(["data", "prepare", *settings]) == 0, "it is there already"
    assert len(server.asked) == 6, "the seventh has no solution to compare with"
    rows = lines_of(tmp_path / "scp116k.jsonl")
    assert [row["reference"]["answer"] for row in rows] == [
        *("4 \\text{ m/s}^2", "2", "23", "30 \\text{ N}", "45^\\circ")
    ]
    assert all(set(row["metadata"]) == {"subject"} for row in rows)
    assert "judge done: 6 questions, 0 from the cache" in capsys.readouterr().err


@pytest.mark.processes
def test_a_killed_preparation_goes_on_without_paying_twice(tmp_path):
    """Killed outright after four answers, one question at a time: only the one that was on its way is asked again."""
    with judge_server(lambda problem, asked: Say("VERDICT: SAME", seconds=0.3)) as server:
        settings = [f"folder={tmp_path}", f"judge.base_url={server.url}", *JUDGE, "judge.concurrency=1"]
        command = [sys.executable, "-m", "nemo_prorl", "data", "prepare", *settings]
        process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 300
        while len(server.asked) < 5 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        assert len(server.asked) == 5 and not (tmp_path / "scp116k.jsonl").exists()
        assert main(["data", "prepare", *settings]) == 0
    assert len(server.asked) == 7
    assert len(set(server.asked)) == 6
    assert len(lines_of(tmp_path / "scp116k.jsonl")) == 6


def test_inspect_shows_a_table_and_writes_a_page(prepared, tmp_path, capsys):
    page = tmp_path / "page.html"
    assert main(["data", "inspect", str(prepared), "--page", str(page), "--samples", "1"]) == 0
    table = capsys.readouterr().out
    assert "total" in table and "26" in table
    assert all(domain in table for domain in ("math", "code", "stem", "logic", "instruction"))
    html = page.read_text()
    assert "26 problems" in html and "NOT for commercial use" in html and "<svg" in html
    assert "http://" not in html and "https://" not in html and "<script" not in html, "it needs nothing but itself"
    assert "&lt;answer&gt;" in html, "what problems say is shown, never obeyed"


def test_validate_names_every_line_that_is_wrong_up_to_a_limit(tmp_path, capsys):
    good = {"uid": "a", "problem": "1+1?", "answer": "2", "domain": "math"}
    rows = [
        json.dumps(good),
        "",
        '{"problem": ',
        json.dumps(good | {"uid": "b", "domain": "maths"}),
        json.dumps(good),
        json.dumps(good | {"uid": "c", "messages": []}),
        json.dumps({"problem": "?", "domain": "code", "reference": {"inputs": ["1"], "outputs": []}}),
        "[" * 100_000,
    ]
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(rows))
    assert main(["data", "validate", str(file)]) == 3
    shown = capsys.readouterr().out.splitlines()
    starts = [
        *(f"{file}:3 is not JSON in UTF-8", f"{file}:4: domain 'maths' is unknown; it is one of math,"),
        *(f"{file}:5: uid 'a' was given to {file}:1", f"{file}:6: a row needs one of 'messages'"),
        *(f"{file}:7: code reference can't be read: reference has 1 inputs and 0 outputs", f"{file}:8 is not JSON"),
    ]
    assert [line[: len(start)] for line, start in zip(shown, starts, strict=False)] == starts
    assert shown[-1] == f"{file}: 1 rows can be used (1 math), 6 can't"
    assert main(["data", "validate", str(file), "--limit", "2"]) == 3
    assert "... and 4 more; --limit shows more of them" in capsys.readouterr().out


def test_validate_finds_nothing_wrong_with_what_prepare_writes(prepared, capsys):
    for file in sorted(prepared.glob("*.jsonl")):
        if not file.name.endswith(".rejected.jsonl"):
            assert main(["data", "validate", str(file)]) == 0
    assert "can't" in capsys.readouterr().out


def test_help_and_unknown_things(capsys):
    for arguments in (
        ["data", "--help"],
        ["data", "inspect", "--help"],
        ["data", "validate", "--help"],
        ["data", "prune"],
    ):
        with pytest.raises(SystemExit):
            main(arguments)
    assert main(["data", "prepare", "--help"]) == 0
    assert "KEY=VALUE" in capsys.readouterr().out
    assert main(["data", "prepare", "--fast"]) == 2
    assert main(["data", "validate", "missing.jsonl"]) == 3
    assert "there is no such file" in capsys.readouterr().err


@pytest.mark.end_to_end
def test_five_sources_go_from_raw_records_to_scored_rollouts(prepared):
    """Of two samples one is right and one says nothing: each group teaches, with rewards 1 and 0."""
    from nemo_prorl.build import data_from  # loads Megatron

    overrides = [f"data.folder={prepared}", "model.path=unused", "validation.problems_per_task=1"]
    config = load_config("train", ["recipe=prorl", "data=prorl", *overrides])
    backend = make_tokenizer()  # its template opens <think>
    tokenizer = Tokenizer(backend, [backend.eos_token_id])
    engine = ScriptedEngine(
        None, tokenizer, answer=lambda prompt, sample: f"Hm.</think>{'' if sample else right_answer(prompt)}"
    )
    with verifier_pool(config.verifiers) as pool:
        mixture, validation = data_from(config, tokenizer, pool.objection)
        collector = Collector(
            engine=engine, pool=pool, mixture=mixture, world=LocalWorld(), budget=config.sampling, run_seed=0
        )
        groups = [group for step in range(12) for group in collector.collect(STAGE, step).groups]
        metrics = pool.drain_metrics()
    assert {prompt.domain for one in validation for prompt in one.prompts} == {"logic"}
    assert {group.prompt.domain for group in groups} == set(DOMAINS)
    assert not [name for name, value in metrics.items() if value and name.endswith(("/error", "/timeout"))]
    for group in groups:
        assert [verdict.reward for verdict in group.verdicts] == [1.0, 0.0], group.prompt.uid


def test_what_an_evaluation_set_asks_is_left_out_and_listed(tmp_path):
    exam = tmp_path / "exam.jsonl"
    asked = "Simplify $\\sqrt{50} - \\sqrt{8}$."
    exam.write_text(json.dumps({"uid": "exam-1", "problem": asked, "answer": "3\\sqrt{2}"}))
    against = f"+quality.evaluation.exam={{name: jsonl, path: {exam}, domain: math}}"
    settings = ["only=[deepscaler]", *FOLDERS, *CHEAP, "sources.deepscaler.instruction=null", against]
    assert main(["data", "prepare", f"folder={tmp_path / 'clean'}", *settings]) == 0
    (found,) = (
        line for line in lines_of(tmp_path / "clean" / "deepscaler.rejected.jsonl") if line["step"] == "contamination"
    )
    assert found["reason"] == "contaminated" and "exam-1 of exam" in found["detail"]
    assert asked not in (tmp_path / "clean" / "deepscaler.jsonl").read_text()
