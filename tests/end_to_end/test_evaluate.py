"""`prorl evaluate` as a user runs it: killed, stopped, over ranks, of checkpoints, its results are those of one run."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from nemo_prorl.cli import main
from nemo_prorl.evaluation.folder import EvaluationFolder
from tests.end_to_end.forked import Forked, finish_forked, status
from tests.end_to_end.runs import write_rows

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

PROBLEMS, PARTS, SAMPLES = 10, 5, 4
STOPPED = 75
UNHURRIED = "rollout.name=tests.end_to_end.plugins:Unhurried"


def settings(model: Path, rows: Path, run_dir: Path, *more: str) -> list[str]:
    return [
        *("evaluate", str(model), "benchmarks=jsonl", f"benchmarks.mine.path={rows}", f"run.dir={run_dir}"),
        *(f"sampling.samples_per_prompt={SAMPLES}", "sampling.max_response_tokens=12", "sampling.max_prompt_tokens=99"),
        *("sampling.problems_per_part=2", "sampling.temperature=1.0", "verifiers.workers=1", "model.name=babbler"),
        *more,
    ]


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_rows(tmp_path_factory.mktemp("rows") / "rows.jsonl", range(PROBLEMS))


@pytest.fixture(scope="module")
def unbroken(model: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("unbroken")
    finish_forked(settings(model, rows, folder / "run", UNHURRIED), folder / "logs")
    return folder / "run"


def outcome(run_dir: Path) -> dict[str, bytes]:
    """Everything that an evaluation is there for."""
    kept = [*run_dir.glob("*.*"), *(run_dir / "samples").iterdir()]
    return {path.name: path.read_bytes() for path in kept if path.name != "status.json"}


def is_asking(run_dir: Path, attempt: int) -> bool:
    said = status(run_dir)
    return bool(said["attempt"] == attempt and said["phase"] == "rollout")


def some_parts(run_dir: Path) -> bool:
    return len(EvaluationFolder(run_dir).parts("mine")) >= 1


def test_every_answer_is_stored_and_scored(unbroken: Path) -> None:
    folder = EvaluationFolder(unbroken)
    samples, score = folder.samples("mine"), folder.results().sets["mine"]
    assert len(samples["uid"]) == PROBLEMS * SAMPLES and score.problems == PROBLEMS
    assert score.score.value == pytest.approx(sum(samples["reward"]) / len(samples["reward"]))
    assert 0 < score.score.value < 1 and score.score.standard_error > 0
    assert status(unbroken)["state"] == "finished" and status(unbroken)["step"] == PROBLEMS
    assert (unbroken / "tables.txt").read_text().startswith("Evaluation sets")
    log = next((unbroken / "attempts" / "0001" / "logs").iterdir()).read_text()
    assert f"problem {PROBLEMS}/{PROBLEMS} mine | solved" in log


def test_killed_and_then_stopped_on_two_ranks_it_ends_with_the_same_bytes(
    model: Path, rows: Path, unbroken: Path, tmp_path: Path
) -> None:
    arguments = settings(model, rows, tmp_path / "run", UNHURRIED)
    with Forked(arguments, tmp_path / "killed") as run:
        assert run.until(lambda: some_parts(tmp_path / "run")), run.output()
        run.kill()
    assert not EvaluationFolder(tmp_path / "run").is_finished()
    with Forked(arguments, tmp_path / "stopped", ranks=2) as run:
        if run.until(lambda: is_asking(tmp_path / "run", attempt=2)):
            run.signal(signal.SIGTERM, ranks=[1])
        codes = run.wait()
    assert codes in ([STOPPED, STOPPED], [0, 0]), run.output()
    finish_forked(arguments, tmp_path / "last")
    assert outcome(tmp_path / "run") == outcome(unbroken)


def test_a_checkpoint_gives_the_answers_of_the_folder_it_was_made_of(
    model: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", "hf-to-megatron", str(model), str(tmp_path / "checkpoint")]) == 0
    for name, source in (("folder", model), ("checkpoint", tmp_path / "checkpoint")):
        finish_forked(settings(source, rows, tmp_path / name), tmp_path / f"logs_{name}")
    found = [EvaluationFolder(tmp_path / name) for name in ("folder", "checkpoint")]
    assert found[0].samples("mine") == found[1].samples("mine")
    assert [folder.manifest().model.format for folder in found] == ["hugging-face", "prorl"]
    assert found[0].manifest().model.identity != found[1].manifest().model.identity


@pytest.mark.parametrize(
    ("changes", "code", "told"),
    [
        (["model.path=nowhere"], 4, "nowhere does not exist"),
        (["benchmarks.mine.nam=x"], 2, "benchmarks.mine.nam is not a knob"),
        (["scores.beside=[gpt]"], 2, "scores.beside names gpt, of which ProRL published nothing"),
        (["benchmarks=quickstart", "~benchmarks.exam.problems_per_task"], 2, "benchmarks.exam never ends"),
        (["sampling.max_prompt_tokens=4"], 3, "over sampling.max_prompt_tokens=4"),
    ],
)
def test_what_is_wrong_is_told_before_anything_is_asked(
    model: Path, rows: Path, tmp_path: Path, changes: list[str], code: int, told: str
) -> None:
    arguments = [*settings(model, rows, tmp_path / "run"), *changes]
    if "benchmarks=quickstart" in changes:
        arguments = [one for one in arguments if "mine" not in one and one != "benchmarks=jsonl"]
    if "model.path=nowhere" in changes:
        arguments.remove(str(model))
    with Forked(arguments, tmp_path / "logs") as run:
        assert run.wait() == [code], run.output()
        assert told in run.output()
    assert not (tmp_path / "run" / "samples").exists()


def test_a_plan_asks_nothing(model: Path, rows: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*settings(model, rows, tmp_path / "run"), "--dry-run"]) == 0
    assert f"set       mine: all problems of jsonl, {SAMPLES} answers to each" in capsys.readouterr().out
    assert not (tmp_path / "run").exists()


def test_one_model_is_evaluated_at_a_time(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "one", "two", "--dry-run"]) == 2
    assert "prorl evaluate takes one model at a time; found one, two" in capsys.readouterr().err


def test_the_plan_of_the_paper_s_benchmarks_names_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "model", "--dry-run"]) == 0
    said = capsys.readouterr().out
    assert said.count("\nset ") == 16
    assert "temperature 0.6, top-p 0.95, up to 32,768 tokens" in said
