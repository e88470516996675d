"""`prorl settings`: every key with its type, default, range and meaning, and every plug-in with its knobs."""

from __future__ import annotations

import argparse
import textwrap
from collections.abc import Iterator, Mapping, Sequence

from nemo_prorl.commands.option_parser import option_parser
from nemo_prorl.config.load import COMMANDS, SCHEMAS, Root
from nemo_prorl.config.overrides import did_you_mean
from nemo_prorl.config.reference import Section, Setting, sections
from nemo_prorl.errors import SettingsError

EXAMPLES = """\
examples:
  prorl settings                                  every key of prorl train
  prorl settings megatron optimizer.lr            one group, one key
  prorl settings recipe.stages                    what a stage is made of
  prorl settings loss.objective                   the losses there are, and their knobs
  prorl settings --of sft sft
  prorl settings --of data-prepare judge

A part in <angle brackets> is a name that you give: recipe.stages.run1.kl_weight=0.

Exit codes: 0; 2 when there is no such key."""

WIDTH = 100
ROOTS: Mapping[str, Root] = {typed.replace(" ", "-"): root for root, typed in COMMANDS.items()}


def run(arguments: list[str], *, dry_run: bool = False) -> int:
    """Print what is asked for; there is nothing else to do, so `dry_run` changes nothing. Returns the exit code.

    Raises:
        SettingsError: there is no such key.
    """
    options = parser().parse_args(arguments)
    schema = SCHEMAS[ROOTS[options.of]]
    found = list(sections(schema))
    for path in options.paths:
        if not any(_is_asked(path, place) for section in found for place in _places(section)):
            known = sorted({place for section in found for place in _places(section)})
            hint = did_you_mean(path, known) or " Type `prorl settings` for all of them."
            raise SettingsError(f"prorl {options.of} has no key {path!r}.{hint}")
    print("\n\n".join(_told(found, options.paths)))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = option_parser(
        "prorl settings", "What can be set, what it means, and what it is if nobody sets it.", EXAMPLES
    )
    made.add_argument("paths", nargs="*", metavar="KEY", help="a key, or a group of keys; default: all of them")
    made.add_argument("--of", choices=list(ROOTS), default="train", help="the command; default: train")
    return made


def _places(section: Section) -> Iterator[str]:
    yield section.path
    yield from (setting.path for setting in section.settings)


def _is_asked(path: str, place: str) -> bool:
    return place == path or place.startswith(path + ".")


def _told(found: Sequence[Section], paths: Sequence[str]) -> Iterator[str]:
    for section in found:
        shown = [one for one in section.settings if not paths or any(_is_asked(path, one.path) for path in paths)]
        if shown:
            meaning = f"  {section.meaning}" if section.meaning else ""
            head = [f"[{section.path}]{meaning}"] if section.path else []
            yield "\n".join([*head, *(_line(one) for one in shown)])
    if paths:  # a plug-in's knobs are read off its own code, which takes a moment to load
        from nemo_prorl.commands.plugin_knobs import plugins

        for plugin in plugins(paths):
            yield "\n".join([f"{plugin.setting}.name={plugin.name}  {plugin.meaning}", *map(_line, plugin.knobs)])


def _line(setting: Setting) -> str:
    default = "REQUIRED" if setting.default is None else setting.default
    words = f"{setting.kind} {setting.allowed}".strip() + (f": {setting.meaning}" if setting.meaning else "")
    return f"  {setting.path}={default}\n" + textwrap.indent(textwrap.fill(words, WIDTH - 8), 8 * " ")
