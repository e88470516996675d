"""`prorl settings`, and the reference that it reads."""

from typing import Annotated, Literal

import pytest
from pydantic import Field

from nemo_prorl.cli import main
from nemo_prorl.commands.plugin_knobs import TABLES
from nemo_prorl.config.closed import Closed
from nemo_prorl.config.load import SCHEMAS
from nemo_prorl.config.reference import NAMES, Setting, bounds_of, default_as_typed, kind_of, sections, settings


class Inner(Closed):
    """What is inside. And more.

    Not shown.
    """

    size: int = Field(3, ge=1, le=9, description="of it")


class Outer(Closed):
    path: str = Field(min_length=1)
    share: float | None = Field(None, gt=0, description="null: none")
    inner: Inner = Inner(size=5)
    maybe: Inner | None = None
    sources: dict[str, Inner] = Field(default={})


def test_a_schema_is_told_group_by_group_with_the_defaults_that_hold_there():
    """`inner` is Inner(size=5) in Outer, so 5 is its default there and 3 elsewhere."""
    top, inner, maybe, source = sections(Outer)
    assert top.settings == (
        Setting("path", "text", None, "", ""),
        Setting("share", "number, or null", "null", "> 0", "null: none"),
        Setting("maybe", "group, or null", "null", "", ""),
    )
    assert (inner.path, inner.meaning) == ("inner", "What is inside. And more.")
    assert inner.settings == (Setting("inner.size", "whole number", "5", ">= 1, <= 9", "of it"),)
    assert maybe.settings[0].default == "3"
    assert source.settings[0].path == "sources.<source>.size"


@pytest.mark.parametrize(
    ("annotation", "words"),
    [
        (bool, "true or false"),
        (Literal["a", "b", "c"], "a, b or c"),
        (list[str], "list of text"),
        (dict[str, float], "number by name"),
        (Annotated[int, Field(ge=1)] | None, "whole number >= 1, or null"),
        (tuple[float, float], "[number, number]"),
        (object, "anything"),
    ],
)
def test_types_are_said_in_words(annotation, words):
    assert kind_of(annotation) == words


def test_values_are_as_one_types_them():
    assert [default_as_typed(value) for value in (None, True, 2e-6, 5_000_000_000, "text")] == [
        "null",
        "true",
        "2e-06",
        "5000000000",
        "text",
    ]
    assert default_as_typed({"a": [1, None]}) == "{a: [1, null]}"
    assert bounds_of([]) == ""


def test_a_group_a_key_and_a_plug_ins_knobs_are_shown(capsys):
    assert main(["settings", "optimizer.lr", "loss.objective"]) == 0
    said = capsys.readouterr().out
    assert "optimizer.lr=2e-06\n        number > 0: constant after warm-up" in said
    assert "optimizer.eps" not in said
    assert "loss.objective.name=grpo" in said and "loss.objective.clip_high=0.4" in said
    assert main(["settings", "--of", "sft", "run.dir"]) == 0
    assert "run.dir=runs/sft" in capsys.readouterr().out


def test_an_unknown_key_is_refused_with_the_nearest(capsys):
    assert main(["settings", "optimzer"]) == 2
    assert "prorl train has no key 'optimzer'. Did you mean 'optimizer'?" in capsys.readouterr().err


def test_every_plug_in_s_knobs_are_shown():
    keys = {one.path: one for schema in SCHEMAS.values() for one in settings(schema) if "plug-in" in one.kind}
    by_name = {path: f"{path}.{NAMES.get(path.rpartition('.')[2], '')}" for path in keys}
    silent = sorted(path for path in keys if path not in TABLES and by_name[path] not in TABLES)
    assert not silent, f"give them a table in commands/plugin_knobs.py: {silent}"
