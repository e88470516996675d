"""`prorl data <what>`: problems to train on, from published sources or of one's own."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from importlib import import_module

from nemo_prorl.commands.option_parser import option_parser

SUBCOMMANDS = {
    "prepare": ("nemo_prorl.commands.data_prepare", "published sources become files that training reads"),
    "inspect": ("nemo_prorl.commands.data_inspect", "what is in a folder or file of problems: a table and a page"),
    "validate": ("nemo_prorl.commands.data_validate", "every line of one's own file that training would refuse"),
}

EXAMPLES = """\
examples:
  prorl data prepare --dry-run                          the five sources of the paper: where from, how many, licences
  prorl data prepare only=[reasoning_gym] folder=FOLDER
  prorl data prepare sources.deepscaler.folder=DOWNLOADED sources.scp116k.agreement=flags
  prorl data inspect FOLDER --page data.html
  prorl data validate problems.jsonl --domain math

`prorl data prepare` takes settings, KEY=VALUE: `prorl settings --of data-prepare` lists them. The others have
options: `prorl data inspect --help`. docs/data.md has the format of the files and what is known of the sources.

Exit codes: 0; 2 when a setting is wrong; 3 when problems can't be read or used."""


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Run a subcommand, or with `dry_run` say what it would do. Returns the exit code."""
    options, rest = _names().parse_known_args(arguments[:1])
    module = import_module(SUBCOMMANDS[options.what][0])
    return int(module.run([*rest, *arguments[1:]], dry_run=dry_run))


def parser() -> argparse.ArgumentParser:
    """The command's options, with those of its subcommands."""
    return _names(lambda module: import_module(module).parser())


def _names(options_of: Callable[[str], argparse.ArgumentParser] | None = None) -> argparse.ArgumentParser:
    """The subcommands; without `options_of`, their options are left to themselves and nothing of them is loaded."""
    made = option_parser("prorl data", (__doc__ or "").partition(": ")[2], EXAMPLES)
    what = made.add_subparsers(dest="what", required=True, metavar="WHAT")
    for name, (module, summary) in SUBCOMMANDS.items():
        if options_of is None:
            what.add_parser(name, help=summary, add_help=False)
        else:
            own = options_of(module)
            what.add_parser(name, help=summary, parents=[own], conflict_handler="resolve", epilog=own.epilog)
    return made
