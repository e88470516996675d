"""How a line typed so far may go on: commands, options, settings and the values that they choose from.

A shell asks by `eval "$(register-python-argcomplete prorl)"`; docs/commands.md says where to put that.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Literal, get_args, get_origin

import argcomplete

from nemo_prorl.cli import Command
from nemo_prorl.commands.settings import ROOTS
from nemo_prorl.config.folder import conf_folder, options_in
from nemo_prorl.config.load import SCHEMAS, Root
from nemo_prorl.config.paths import closed_model_at
from nemo_prorl.config.reference import settings


def answer(commands_only: argparse.ArgumentParser, commands: Mapping[str, Command]) -> None:
    """Write the continuations of the shell's line (COMP_LINE) where argcomplete does, and end the process."""
    words = os.environ["COMP_LINE"].split()
    typed = words[1] if len(words) > 1 else ""
    parser = parser_of(typed, commands, commands_only) if typed in commands else commands_only
    argcomplete.autocomplete(parser, validator=lambda completion, prefix: completion.startswith(prefix))


def parser_of(
    name: str, commands: Mapping[str, Command], commands_only: argparse.ArgumentParser | None = None
) -> argparse.ArgumentParser:
    """A parser of whole lines that knows one command's options, too."""
    command = commands[name]
    whole = argparse.ArgumentParser(prog="prorl", allow_abbrev=False)
    below = whole.add_subparsers(dest="command", required=True)
    if command.settings:
        own = below.add_parser(name, allow_abbrev=False)
        own.add_argument("--dry-run", action="store_true")
        own.add_argument("--world-size", type=int)
        overrides: Any = own.add_argument("overrides", nargs="*")
        overrides.completer = lambda prefix, **_: list(continued(prefix, ROOTS[name]))
    else:
        own = below.add_parser(name, parents=[import_module(command.module).parser()], conflict_handler="resolve")
        own.add_argument("--dry-run", action="store_true")
    return whole


def continued(typed: str, root: Root) -> Iterator[str]:
    """All settings, of which argcomplete takes those that begin as `typed` does; once it has its "=", its values."""
    key, equals, _ = typed.partition("=")
    groups = options_in([conf_folder()])
    if not equals:
        names = [*groups, *(setting.path for setting in settings(SCHEMAS[root]))]
        yield from (f"{name.partition('<')[0]}" + ("=" if "<" not in name else "") for name in names)
    elif key in groups:
        yield from (f"{key}={name}" for name in groups[key])
    else:
        yield from (f"{key}={value}" for value in _values(key, root))


def _values(key: str, root: Root) -> Iterator[str]:
    """The values of a key that has few: those of a Literal, true and false."""
    *place, last = key.split(".")
    model = closed_model_at(SCHEMAS[root], place)
    if model is None or last not in model.model_fields:
        return
    annotation = model.model_fields[last].annotation
    for one in (annotation, *get_args(annotation)):
        if get_origin(one) is Literal:
            yield from map(str, get_args(one))
        elif one is bool:
            yield from ("true", "false")
