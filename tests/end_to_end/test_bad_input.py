"""Bad input gets a clear message and an exit code, and leaves nothing half-written behind as valid."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from nemo_prorl.cli import main
from tests.end_to_end.runs import ROOT, finish, records, settings, start, write_problems
from tests.processes import Command

pytestmark = pytest.mark.end_to_end

# Each: what is typed beside good settings, the exit code, and what the message must say.
TYPED = {
    "an unknown key": (["optimizer.lrr=1e-4"], 2, ["optimizer.lrr", "optimizer.lr"]),
    "a wrong type": (["optimizer.lr=fast"], 2, ["optimizer.lr", "fast"]),
    "several at once": (["optimizer.lr=-1", "run.seeed=3", "megatron.precision=fp7"], 2, ["lr", "seeed", "fp7"]),
    "an unknown knob": (["+loss.objective.clip_hihg=0.3"], 2, ["clip_hihg", "clip_high"]),
    "a layout that splits heads": (["megatron.tensor_parallel_size=3"], 2, ["4 attention heads", "1 or 2"]),
    "no such model": (["model.path=/nowhere"], 4, ["/nowhere", "not a folder"]),
    "a prompt without room": (["data.max_prompt_tokens=4"], 3, ["tokens", "data.max_prompt_tokens=4"]),
    "updates of unequal size": (["recipe.stages.quickstart.prompts_per_update=3"], 2, ["prompts_per_update"]),
}


@pytest.mark.parametrize("case", TYPED)
def test_bad_settings_are_refused_with_what_to_type_instead(
    case: str, model: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more, exit_code, words = TYPED[case]
    assert main(settings(model, problems, tmp_path / "run", *more)) == exit_code
    message = capsys.readouterr().err
    assert "Traceback" not in message
    for word in words:
        assert word in message
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_an_update_that_ranks_cannot_share_is_refused_before_anything_is_built(
    model: Path, problems: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "3")
    assert main([*settings(model, problems, tmp_path / "run"), "--dry-run"]) == 2
    assert "prompts_per_update=2 can't be shared evenly by 3" in capsys.readouterr().err


def test_empty_data_is_refused(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_problems(tmp_path / "empty.jsonl").write_text("")
    assert main(settings(model, tmp_path / "empty.jsonl", tmp_path / "run")) == 3
    assert "empty.jsonl" in capsys.readouterr().err


@pytest.mark.processes
def test_a_model_with_wrong_missing_and_surplus_tensors_is_refused_and_all_are_listed(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    tensors = load_file(broken / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    tensors["model.norm.weight"] = tensors["model.norm.weight"][:-1].clone()
    tensors["model.layers.9.surplus"] = tensors["model.norm.weight"].clone()
    save_file(tensors, broken / "model.safetensors", metadata={"format": "pt"})
    with start(settings(broken, problems, tmp_path / "run"), tmp_path / "logs") as command:
        assert command.wait() == [4]
        for name in ("model.layers.1.mlp.up_proj.weight", "model.norm.weight", "model.layers.9.surplus"):
            assert name in command.output()


@pytest.mark.processes
def test_a_gradient_that_is_not_a_number_ends_the_run_before_any_weight_changes(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """Two good steps, then two with a bad objective: they end at once, and what was saved is still good."""
    run_dir = tmp_path / "run"
    finish(settings(model, problems, run_dir, steps=2), tmp_path / "logs_good")
    bad = ["loss.objective.name=tests.end_to_end.plugins:not_a_number", "~loss.objective.clip_low"]
    bad += ["~loss.objective.clip_high"]
    with start(settings(model, problems, run_dir, *bad, steps=4), tmp_path / "logs_bad") as command:
        assert command.wait() == [8]
        assert "not a finite number" in command.output()
    finish(settings(model, problems, run_dir, steps=4), tmp_path / "logs_again")
    assert [record["step"] for record in records(run_dir)] == [1, 2, 3, 4]


@pytest.mark.processes
def test_a_full_disk_while_saving_leaves_no_checkpoint_that_looks_whole(
    model: Path, problems: Path, tmp_path: Path
) -> None:
    """The largest file a process may write is set below a checkpoint's size, as a quota would do it."""
    run_dir = tmp_path / "run"
    limited = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000)); "
    limited += "sys.argv[0] = 'prorl'; runpy.run_module('nemo_prorl', run_name='__main__')"
    arguments = settings(model, problems, run_dir, steps=2)
    logs = tmp_path / "logs"
    logs.mkdir()
    with Command(1, ["-c", limited, *arguments], logs=logs, folder=ROOT) as command:
        assert command.wait() == [5], command.output()
        assert "could not be written" in command.output()
    assert list((run_dir / "checkpoints").glob("iter_*")) == []
    finish(arguments, tmp_path / "logs_again")
    manifest = json.loads((run_dir / "checkpoints" / "iter_0000002" / "manifest.json").read_text())
    assert "__0_0.distcp" in manifest and manifest["__0_0.distcp"]["bytes"] > 60_000
