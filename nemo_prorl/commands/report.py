"""`prorl report FOLDER`: a run, its evaluations and what they say of the boundary, on one HTML page."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from nemo_prorl.commands.report_sources import Sources
from nemo_prorl.commands.report_watch import Watcher
from nemo_prorl.errors import ConfigError

EXAMPLES = """\
examples:
  prorl report runs/first                                          writes runs/first/report.html
  prorl report runs/first --watch                                  and keeps it up to date until the run ends
  prorl report runs/first evaluations/base evaluations/final analysis --out first.html

The page needs nothing but itself: it can be mailed, and opened without a network. docs/report.md says what is on it."""


def run(arguments: list[str], *, dry_run: bool = False) -> int:
    """Write the page, or with `dry_run` say what it would be made of. Returns the exit code.

    Raises:
        ConfigError: an option makes no sense, or the page can't be written.
        DataError: a folder is neither a run's, an evaluation's nor an analysis's, or can't be read.
    """
    options = _options(arguments)
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


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="prorl report",
        description="Write one HTML page about a run: curves, resets, alarms, evaluations, the boundary, samples.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, metavar="FOLDER", help="of a run, of evaluations, of an analysis, in any mix"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="default: report.html in the first folder")
    parser.add_argument("--title", help="default: the name of the first folder")
    parser.add_argument("--watch", action="store_true", help="keep the page up to date until the run ends, or Ctrl-C")
    parser.add_argument("--every", type=float, default=10.0, metavar="SECONDS", help="look so often; default: 10")
    options = parser.parse_args(arguments)
    if not 0.1 <= options.every <= 3600:
        parser.error("--every is between 0.1 and 3600 seconds")
    return options
