"""What a user types, what comes out, and the exit code."""

import subprocess
import sys
import types

import pytest

from nemo_prorl import cli, errors
from nemo_prorl.cli import Command, main
from nemo_prorl.quickstart.tiny_model import make_tiny_model
from tests.house.source import ROOT


@pytest.fixture(autouse=True)
def one_process(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "PRORL_TRACEBACK"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def command(monkeypatch):
    """A command of our own: what it was called with, and what it is to raise."""
    module = types.ModuleType("a_command_of_ours")
    module.calls, module.error = [], None

    def run(arguments, *, dry_run):
        module.calls.append((arguments, dry_run))
        if module.error is not None:
            raise module.error
        return 0

    module.run = run
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(cli, "COMMANDS", {"do": Command(module.__name__, "does it", settings=True)})
    return module


def test_settings_reach_the_command_in_order_wherever_an_option_stands(command):
    assert main(["do", "a=1", "--dry-run", "b=2", "~c", "+d.e=3"]) == 0
    assert command.calls == [(["a=1", "b=2", "~c", "+d.e=3"], True)]


def test_a_command_with_options_of_its_own_gets_all_of_them(command, monkeypatch):
    monkeypatch.setattr(cli, "COMMANDS", {"do": Command(command.__name__, "does it")})
    assert main(["do", "--out", "x", "--dry-run", "--help", "y"]) == 0
    assert command.calls == [(["--out", "x", "--help", "y"], True)]


@pytest.mark.parametrize("error", [errors.ConfigError, errors.DataError, errors.WeightsError, errors.TrainingError])
def test_an_error_is_a_sentence_and_an_exit_code(command, capsys, error):
    command.error = error("where it is: what was found; what to do")
    assert main(["do"]) == error.exit_code
    assert capsys.readouterr().err == f"prorl: {error.__name__}: where it is: what was found; what to do\n"


def test_a_traceback_comes_when_it_is_asked_for(command, capsys, monkeypatch):
    monkeypatch.setenv("PRORL_TRACEBACK", "1")
    command.error = errors.DataError("no")
    assert main(["do"]) == 3
    assert "Traceback" in capsys.readouterr().err


def test_ctrl_c_ends_quietly(command, capsys):
    command.error = KeyboardInterrupt()
    assert main(["do"]) == 130
    assert capsys.readouterr().err == "prorl: interrupted\n"


@pytest.mark.parametrize(("options", "code"), [([], 141), (["--dry-run"], 0)])
def test_output_that_nobody_reads_any_more_ends_it_quietly(options, code):
    """As `prorl settings | head` does; a dry run has done all there is to do."""
    command = [sys.executable, "-m", "nemo_prorl", "settings", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT, text=True) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == ("", code)


def test_without_an_output_at_all_a_command_does_its_work():
    done = subprocess.run(["bash", "-c", f"{sys.executable} -m nemo_prorl settings optimizer.lr >&-"], cwd=ROOT)
    assert done.returncode == 0


def test_a_pipe_that_broke_elsewhere_is_no_quiet_end(command):
    command.error = BrokenPipeError("a worker's")
    with pytest.raises(BrokenPipeError, match="a worker's"):
        main(["do"])


def test_a_bug_is_not_explained_away(command):
    command.error = RuntimeError("a bug")
    with pytest.raises(RuntimeError, match="a bug"):
        main(["do"])


def test_other_ranks_repeat_nothing_that_rank_0_has_said_and_sign_what_they_say(command, capsys, monkeypatch):
    """What was typed is wrong on every rank; a device, a port or a package may be missing on one host alone."""
    monkeypatch.setenv("RANK", "3")
    command.error = errors.SettingsError("rank 0 has said it")
    assert main(["do"]) == 2
    assert capsys.readouterr().err == ""
    command.error = errors.ConfigError("no CUDA device here")
    assert main(["do"]) == 2
    assert capsys.readouterr().err == "prorl: ConfigError (rank 3): no CUDA device here\n"
    command.error = errors.DataError("here alone")
    assert main(["do"]) == 3
    assert capsys.readouterr().err == "prorl: DataError (rank 3): here alone\n"


def test_the_plan_is_printed_by_one_rank(command, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    assert main(["do", "--dry-run"]) == 0
    assert command.calls == []


def test_world_size_plans_and_does_not_start(command, capsys, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "")  # so that it is put back
    assert main(["do", "--dry-run", "--world-size", "8"]) == 0
    assert cli.os.environ["WORLD_SIZE"] == "8"
    with pytest.raises(SystemExit) as ended:
        main(["do", "--world-size", "8"])
    assert ended.value.code == 2
    assert "--world-size only plans" in capsys.readouterr().err


@pytest.mark.parametrize("arguments", [["--no-such"], ["-x"], ["a=1", "--dry"]])
def test_an_unknown_option_is_refused(command, capsys, arguments):
    with pytest.raises(SystemExit) as ended:
        main(["do", *arguments])
    assert ended.value.code == 2
    assert command.calls == []
    assert "has no option" in capsys.readouterr().err


def test_help_shows_examples(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert all(name in said for name in cli.COMMANDS)
    assert "torchrun --nproc-per-node 2 -m nemo_prorl train" in said


TYPED_WRONG = {
    "an unknown key": ["optimizer.lrr=1"],
    "an unknown plug-in": ["rollout.name=vlm"],
    "a knob out of range": ["data.sources.practice.seed=-1"],
    "a layout that doesn't fit": ["megatron.tensor_parallel_size=3"],
    "too few positions": ["recipe.stages.quickstart.context_tokens=4096"],
}


@pytest.mark.parametrize("wrong", TYPED_WRONG)
def test_what_every_rank_finds_wrong_with_the_settings_is_said_by_one(tmp_path, capsys, monkeypatch, wrong):
    model = make_tiny_model(tmp_path / "model", hidden_size=32, layers=2, ffn_size=64)
    arguments = ["train", "recipe=quickstart", f"model.path={model}", f"run.dir={tmp_path / 'run'}"]
    assert main([*arguments, *TYPED_WRONG[wrong]]) == 2
    assert "prorl: SettingsError: " in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    assert main([*arguments, *TYPED_WRONG[wrong]]) == 2
    assert "SettingsError" not in capsys.readouterr().err


def test_a_plug_in_that_is_not_installed_on_its_host_is_said_by_every_rank(tmp_path, capsys, monkeypatch):
    model = make_tiny_model(tmp_path / "model", hidden_size=32, layers=2, ffn_size=64)
    monkeypatch.setenv("RANK", "1")
    arguments = ["recipe=quickstart", f"model.path={model}", f"run.dir={tmp_path / 'run'}"]
    assert main(["train", *arguments, "rollout.name=no_such_package:Engine"]) == 2
    assert (
        "prorl: ConfigError (rank 1): rollout.name='no_such_package:Engine' can't be loaded" in capsys.readouterr().err
    )


def test_megatron_to_hf_says_whose_checkpoints_it_reads(capsys):
    with pytest.raises(SystemExit) as ended:
        main(["convert", "megatron-to-hf", "--help"])
    assert ended.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "a torch_dist checkpoint that prorl, Megatron-LM or Megatron-Bridge wrote" in said
    assert "or a NeMo 2 checkpoint (weights/, context/)" in said


def test_train_explains_everything_that_is_wrong(capsys):
    assert main(["train", "recipe=tiny", "optimizer.lrr=1"]) == 2
    said = capsys.readouterr().err
    assert "model.path is required: model.path=FOLDER" in said
    assert "optimizer.lrr: unknown key. Did you mean optimizer.lr?" in said
