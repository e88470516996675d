"""Whether a command line that a page shows would be understood: it is read as `prorl` reads it, and not run."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Sequence
from functools import cache
from importlib import import_module

from nemo_prorl.cli import COMMANDS
from nemo_prorl.commands.choices import check_choices
from nemo_prorl.commands.completion import parser_of
from nemo_prorl.commands.settings import ROOTS
from nemo_prorl.config.folder import conf_folder, options_in
from nemo_prorl.config.load import Root, load_config
from nemo_prorl.errors import ConfigError, SettingsError
from tests.house.settings import filled_in

PLACEHOLDERS = {"N": "2", "X": "0.1"}
GROUPS = options_in([conf_folder()])
A_NAME_TO_BE_CHOSEN = re.compile(rf"({'|'.join(GROUPS)})=[A-Z]+")


def prorl_arguments(words: Sequence[str]) -> list[str] | None:
    """What is typed after `prorl` (or `-m nemo_prorl`), up to the next program; None where neither is called."""
    for start in ("prorl", "nemo_prorl"):
        if start in words:
            arguments = list(words[words.index(start) + 1 :])
            ends = [place for place, word in enumerate(arguments) if word in ("|", "&&", ";")]
            return arguments[: ends[0]] if ends else arguments
    return None


def objection(arguments: Sequence[str]) -> str | None:
    """Why `prorl` would refuse these arguments, or None."""
    words = [PLACEHOLDERS.get(word, word) for word in arguments]
    if not words or words[0].startswith("-") or "COMMAND" in words:  # --help, of whatever command
        return None
    if words[0] not in COMMANDS:
        return f"there is no command {words[0]!r}"
    if words[0] == "data" and words[1:2] == ["prepare"]:
        return settings_objection("prepare", words[2:])
    if COMMANDS[words[0]].settings and "--help" not in words:
        options = [word for word in words[1:] if word.startswith("--") or word.isdecimal()]
        others = [word for word in words[1:] if word not in options and word != "..."]
        module = import_module(COMMANDS[words[0]].module)
        if hasattr(module, "with_model"):  # it takes a model's path among its settings
            others = module.with_model(others)
        return settings_objection(ROOTS[words[0]], [*others, *options])
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said), contextlib.redirect_stdout(said):
            parser_of(words[0], COMMANDS).parse_args(words)
    except SystemExit as ended:
        return said.getvalue() if ended.code else None  # 0: --help
    return None


def whole(root: Root, chosen: Sequence[str]) -> list[str]:
    """Settings with what a user has to give besides."""
    groups = tuple(word for word in chosen if word.partition("=")[0] in (*GROUPS, "hydra.searchpath"))
    given = {word.lstrip("+").partition("=")[0] for word in chosen}
    return [*chosen, *(one for one in _wanting(root, groups) if one.partition("=")[0] not in given)]


@cache
def _wanting(root: Root, groups: tuple[str, ...]) -> list[str]:
    """Values for what is left open when a root file makes these choices."""
    return filled_in(root, list(groups))[len(groups) :]


def settings_objection(root: Root, words: Sequence[str]) -> str | None:
    """Why these settings (and options) of a command would be refused, or None."""
    settings = [word for word in words if "=" in word or word.startswith("~")]
    options = [word for word in words if word not in settings and not word.isdecimal() and word != "..."]
    if unknown := set(options) - {"--dry-run", "--world-size", "--help"}:
        return f"neither settings nor options: {sorted(unknown)}"
    try:
        chosen = [word for word in settings if not A_NAME_TO_BE_CHOSEN.fullmatch(word)]
        check_choices(load_config(root, whole(root, chosen)))
    except ConfigError as error:  # any other than a SettingsError: a plug-in of the reader's own
        return str(error) if isinstance(error, SettingsError) else None
    return None
