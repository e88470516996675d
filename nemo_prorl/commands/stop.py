"""`prorl stop RUN_DIR`: have a live run save and end."""

from __future__ import annotations

import argparse
from pathlib import Path

from nemo_prorl.commands.live_runs import live_run
from nemo_prorl.commands.option_parser import option_parser
from nemo_prorl.control import STOP_FILE
from nemo_prorl.telemetry.run_folder import written

EXAMPLES = """\
examples:
  prorl stop runs/first
  prorl stop runs/first --reason "the node goes down at noon"
  prorl train recipe=tiny model.path=FOLDER run.dir=runs/first       afterwards: the same command goes on

Exit codes: 0; 2 when no run is live in the folder."""


def run(arguments: list[str], *, dry_run: bool = False) -> int:
    """Ask, or with `dry_run` only say whom. Returns the exit code.

    Raises:
        ConfigError: there is no run in the folder, or none that is live.
        RunFolderError: the request can't be written.
    """
    options = parser().parse_args(arguments)
    attempt = live_run(options.run_dir, "stop")
    if dry_run:
        print(f"would ask {attempt} of {options.run_dir} to stop")
        return 0
    file = options.run_dir / STOP_FILE
    with written(file):
        file.write_text(options.reason + "\n", encoding="utf-8")
    print(
        f"{attempt} of {options.run_dir} is asked to stop. It gives up what it is sampling or finishes its update, "
        f"saves, and exits with code 75; status.json says when. Until it has looked, removing {file} takes it back"
    )
    return 0


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = option_parser("prorl stop", __doc__.partition(": ")[2], EXAMPLES)
    made.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run's folder (run.dir)")
    made.add_argument("--reason", default="prorl stop", help="for the record")
    return made
