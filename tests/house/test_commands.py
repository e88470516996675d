"""Every command explains itself: options, examples, exit codes."""

import argparse
import inspect
import re
from importlib import import_module

import pytest

from nemo_prorl import errors
from nemo_prorl.cli import COMMANDS, main
from tests.house.source import ROOT

WITH_OPTIONS = [name for name, command in COMMANDS.items() if not command.settings]


def parsers(parser):
    """A parser and those of its subcommands."""
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for below in action.choices.values():
                yield from parsers(below)


def parser_of(name):
    module = import_module(COMMANDS[name].module)
    assert hasattr(module, "parser"), f"{module.__name__} needs parser() -> ArgumentParser: help and completion use it"
    return module.parser()


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_an_example_and_exit_codes_and_ends_well(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    assert said.startswith("usage: prorl") and re.search(rf"^examples?:\n  prorl {name}", said, re.MULTILINE), said
    assert re.search(r"^Exit codes: ", said, re.MULTILINE), f"prorl {name} --help should tell its exit codes"


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_every_option_and_every_subcommand_says_what_it_is(name):
    for parser in parsers(parser_of(name)):
        silent = [action.option_strings or action.dest for action in parser._actions if not action.help]
        subcommands = [action.dest for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        assert not [one for one in silent if one not in subcommands], f"{parser.prog}: a help text for {silent}"


@pytest.mark.parametrize("name", WITH_OPTIONS)
def test_examples_of_subcommands_are_examples(name):
    for parser in parsers(parser_of(name)):
        if parser._subparsers is None:
            shown = re.findall(r"^  (?:\w+ \S+ \| )?(prorl \S+(?: \S+)?)", parser.epilog or "", re.MULTILINE)
            assert shown, f"{parser.prog} --help shows no example"


def test_every_command_is_on_the_page_of_commands():
    text = (ROOT / "docs" / "commands.md").read_text()
    assert not [name for name in COMMANDS if f"`prorl {name}`" not in text]


def test_every_exit_code_is_documented():
    """In the table of docs/runs.md."""
    text = (ROOT / "docs" / "runs.md").read_text()
    table = text[text.index("## Exit codes") :].partition("\n## ")[0]
    documented = {int(code) for row in re.findall(r"^\| ([\d, ]+)\|", table, re.MULTILINE) for code in row.split(",")}
    classes = [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if hasattr(kind, "exit_code")]
    assert {kind.exit_code for kind in classes} - {1} <= documented
