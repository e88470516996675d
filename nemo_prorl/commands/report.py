"""`prorl report FOLDER`: a run, its evaluations and what they say of the boundary, on one HTML page."""

from __future__ import annotations

import argparse
from pathlib import Path

from nemo_prorl.commands.option_parser import option_parser, seconds
from nemo_prorl.errors import ConfigError

EXAMPLES = """\
examples:
  prorl report runs/first                                          writes runs/first/report.html
  prorl report runs/first --watch                                  and keeps it up to date until the run ends
  prorl report runs/first evaluations/base evaluations/final analysis --out first.html

The page needs nothing but itself: it can be mailed, and opened without a network. docs/report.md says what is on it.

Exit codes: 0, also after Ctrl-C has ended --watch; 2 when the page can't be written; 3 when a folder can't be read."""


def run(arguments: list[str], *, dry_run: bool = False) -> int:
    """Write the page, or with `dry_run` say what it would be made of. Returns the exit code.

    Raises:
        ConfigError: an option makes no sense, or the page can't be written.
        DataError: a folder is neither a run's, an evaluation's nor an analysis's, or can't be read.
    """
    from nemo_prorl.commands.report_sources import Sources  # here, for help and completion need none of it
    from nemo_prorl.commands.report_watch import Watcher

    options = parser().parse_args(arguments)
    sources = Sources.of(options.folders)
    out = options.out or options.folders[0] / "report.html"
    if dry_run:
        print("\n".join([*sources.told(), f"would write {out}"]))
        return 0
    if options.watch and sources.run is None:
        raise ConfigError("prorl report --watch: none of the folders is that of a run, so there is nothing to watch")
    watcher = Watcher(
        sources, out, title=options.title or options.folders[0].resolve().name, every_seconds=options.every
    )
    print(watcher.watch() if options.watch else watcher.write_once(), flush=True)
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    about = "write one HTML page about a run: curves, resets, alarms, evaluations, the boundary, samples."
    made = option_parser("prorl report", about, EXAMPLES)
    made.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="of a run, of evaluations, of an analysis, in any mix"
    )
    made.add_argument("--out", type=Path, metavar="FILE", help="default: report.html in the first folder")
    made.add_argument("--title", help="default: the name of the first folder")
    made.add_argument("--watch", action="store_true", help="keep the page up to date until the run ends, or Ctrl-C")
    made.add_argument(
        "--every", type=seconds(0.1, 3600), default=10.0, metavar="SECONDS", help="look so often; default: 10"
    )
    return made
