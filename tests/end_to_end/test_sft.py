"""The cold start as a user runs it: it learns, it resumes, ranks agree, and bad rows end every rank at once."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from nemo_prorl.cli import main
from nemo_prorl.data.sources.demonstrations import Demonstration
from tests.end_to_end.forked import Forked, finish_forked, in_phase, status
from tests.end_to_end.runs import finish, records, start

pytestmark = [pytest.mark.end_to_end, pytest.mark.processes]

ANSWERS = ("aeiou", "bcd</think><answer>7</answer>", "no", "a rather long answer", "yes, it is", "mmm")
TOO_LONG = "z" * 200


class LongFourth:
    """Demonstrations without end; number 3, which the second of two ranks gets, is too long."""

    size = None

    def __init__(self, *, path: str, seed: int) -> None:  # the knobs that sft=jsonl gives
        pass

    def row(self, index: int) -> Demonstration:
        messages = ({"role": "user", "content": f"Number {index}?"},)
        return Demonstration(messages, TOO_LONG if index == 3 else "fine")


def write_rows(path: Path, *answers: str) -> Path:
    rows = [
        {"messages": [{"role": "user", "content": f"Question {number}?"}], "response": answer}
        for number, answer in enumerate(answers)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def demonstrations(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six, so that steps of four cross epochs."""
    return write_rows(tmp_path_factory.mktemp("demonstrations") / "rows.jsonl", *ANSWERS)


def settings(model: Path, rows: Path, run_dir: Path, *more: str, steps: int = 4) -> list[str]:
    return [
        "sft",
        "sft=jsonl",
        f"sft.source.path={rows}",
        f"model.path={model}",
        f"run.dir={run_dir}",
        f"sft.steps={steps}",
        "sft.sequences_per_step=4",
        "sft.max_sequence_tokens=96",
        "optimizer.lr=3e-3",
        "checkpoint.every_steps=1",
        "telemetry.tensorboard=false",
        *more,
    ]


@pytest.fixture(scope="module")
def unbroken(model: Path, demonstrations: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, four steps."""
    folder = tmp_path_factory.mktemp("unbroken")
    finish(settings(model, demonstrations, folder / "run"), folder / "logs")
    return folder / "run"


def test_it_learns_the_demonstrations_and_exports_a_model(unbroken: Path) -> None:
    losses = [record["sft/loss"] for record in records(unbroken, "sft")]
    assert len(losses) == 4
    assert losses[-1] < losses[0] - 0.5
    assert (unbroken / "export" / "model.safetensors").is_file()


def test_killed_and_resumed_it_gives_the_same_losses_bit_for_bit(
    model: Path, demonstrations: Path, unbroken: Path, tmp_path: Path
) -> None:
    arguments = settings(model, demonstrations, tmp_path / "run")
    with start(arguments, tmp_path / "logs_1") as command:
        while not any(record["step"] >= 2 for record in records(tmp_path / "run", "sft")):
            assert command.processes[0].poll() is None, command.output()
        command.kill()
    finish(arguments, tmp_path / "logs_2")
    assert [record["step"] for record in records(tmp_path / "run", "sft")] == [1, 2, 3, 4]
    assert records(tmp_path / "run", "sft") == records(unbroken, "sft")
    exported = [folder / "export" / "model.safetensors" for folder in (tmp_path / "run", unbroken)]
    assert exported[0].read_bytes() == exported[1].read_bytes()


@pytest.mark.parametrize("layout", [["megatron.tensor_parallel_size=2"], []], ids=["tensor_parallel_2", "data_2"])
def test_two_ranks_give_the_losses_of_one(
    layout: list[str], model: Path, demonstrations: Path, unbroken: Path, tmp_path: Path
) -> None:
    more = [*layout, "checkpoint.every_steps=null", "export.at_end=false"]
    finish(settings(model, demonstrations, tmp_path / "run", *more), tmp_path / "logs", ranks=2)
    found = records(tmp_path / "run", "sft")
    for record, wanted in zip(found, records(unbroken, "sft"), strict=True):
        for key in ("sft/loss", "optimizer/grad_norm"):
            assert record[key] == pytest.approx(wanted[key], abs=1e-4, rel=1e-4), f"step {wanted['step']}: {key}"


def test_a_demonstration_that_is_too_long_ends_every_rank_with_a_sentence(model: Path, tmp_path: Path) -> None:
    source = "sft.source.name=tests.end_to_end.test_sft:LongFourth"
    arguments = settings(model, tmp_path / "none", tmp_path / "run", source)
    with start(arguments, tmp_path / "logs", ranks=2) as command:
        assert command.wait() == [3, 3], command.output() + command.output(1)
        for rank in (0, 1):
            assert "demonstration 3 has" in command.output(rank)
            assert "over sft.max_sequence_tokens=96" in command.output(rank)
            assert "Traceback" not in command.output(rank)


def test_a_row_of_a_file_that_is_too_long_is_found_before_the_first_step(model: Path, tmp_path: Path) -> None:
    """All of an epoch is looked at, whichever step would have met it, and its line is named."""
    rows = write_rows(tmp_path / "rows.jsonl", *ANSWERS, *ANSWERS, *ANSWERS, TOO_LONG)
    with start(settings(model, rows, tmp_path / "run"), tmp_path / "logs") as command:
        assert command.wait() == [3], command.output()
        assert "rows.jsonl:19) has" in command.output()
    assert records(tmp_path / "run", "sft") == []


def test_an_export_folder_of_something_else_is_found_before_the_first_step(
    model: Path, demonstrations: Path, tmp_path: Path
) -> None:
    (tmp_path / "run" / "export").mkdir(parents=True)
    (tmp_path / "run" / "export" / "thesis.tex").touch()
    with start(settings(model, demonstrations, tmp_path / "run"), tmp_path / "logs") as command:
        assert command.wait() == [4], command.output()
        assert "holds thesis.tex but no config.json" in command.output()
        assert "Traceback" not in command.output()
    assert records(tmp_path / "run", "sft") == []
    assert (tmp_path / "run" / "export" / "thesis.tex").exists()


def test_a_cold_start_that_is_asked_to_stop_saves_and_goes_on(
    model: Path, demonstrations: Path, unbroken: Path, tmp_path: Path
) -> None:
    """Its first four steps are those of a run of four, and none is missing or there twice."""
    run_dir, few = tmp_path / "run", ["checkpoint.every_steps=50", "export.at_end=false"]
    with Forked(settings(model, demonstrations, run_dir, *few, steps=5000), tmp_path / "logs") as run:
        assert run.until(in_phase(run_dir, "step", 5)), run.output()
        assert main(["reset", str(run_dir), "--reason", "none"]) == 2, "it has nothing that could be reset"
        run.signal(signal.SIGTERM)
        assert run.wait() == [75], run.output()
    stopped_at = status(run_dir)["step"]
    finish_forked(settings(model, demonstrations, run_dir, *few, steps=stopped_at + 2), tmp_path / "logs_again")
    found = records(run_dir, "sft")
    assert [record["step"] for record in found] == list(range(1, stopped_at + 3))
    assert found[:4] == records(unbroken, "sft")
    with Forked(settings(model, demonstrations, run_dir, *few, steps=stopped_at), tmp_path / "logs_fewer") as fewer:
        assert fewer.wait() == [5], fewer.output()
        assert f"has done {stopped_at + 2} steps, more than sft.steps={stopped_at}" in fewer.output()
