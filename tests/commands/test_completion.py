"""How a line goes on, as a shell asks."""

import os
import subprocess
import sys

import pytest

from nemo_prorl.commands.completion import continued


def offered(line, tmp_path):
    """What a shell is told about a line."""
    file = tmp_path / "offered"
    asks = {"COMP_LINE": line, "COMP_POINT": str(len(line)), "COMP_TYPE": "9", "_ARGCOMPLETE": "1"}
    asks |= {"_ARGCOMPLETE_IFS": "\n", "_ARGCOMPLETE_STDOUT_FILENAME": str(file)}
    asks |= {"_ARGCOMPLETE_COMP_WORDBREAKS": " \t\n\"'><=;|&(:"}
    program = "import sys; from nemo_prorl.cli import main; sys.exit(main())"
    subprocess.run([sys.executable, "-c", program], env=os.environ | asks, timeout=120, check=True)
    return file.read_text().replace("\x0b", "\n").split("\n")


def test_a_shell_gets_commands_and_what_follows_an_equals_sign(tmp_path):
    """Bash takes what comes after a "=" for a word of its own, so that is what it is given."""
    assert offered("prorl tr", tmp_path) in (["train "], ["train"])
    assert [word.strip() for word in offered("prorl train optimizer.lr=1 recipe=prorl_v2", tmp_path)] == [
        "prorl_v2",
        "prorl_v2_tiny",
    ]


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("recipe=", "recipe=prorl"),
        ("megatron.rec", "megatron.recompute="),
        ("megatron.recompute=", "megatron.recompute=selective"),
        ("megatron.packing=", "megatron.packing=false"),
        ("recipe.st", "recipe.stages."),
    ],
)
def test_settings_go_on(typed, expected):
    assert expected in set(continued(typed, "train"))


def test_keys_whose_values_are_anything_offer_none():
    assert not list(continued("optimizer.lr=", "train"))
    assert not list(continued("no.such.key=", "train"))
    assert "sft.steps=" in set(continued("sft", "sft"))
