"""`prorl reset RUN_DIR`: have a live run reset its reference and optimizer, as its stage's settings say."""

from __future__ import annotations

import argparse
from pathlib import Path

import yaml

from nemo_prorl.commands.live_runs import live_run
from nemo_prorl.commands.option_parser import option_parser
from nemo_prorl.errors import ConfigError
from nemo_prorl.reset_requests import ask_for_reset
from nemo_prorl.telemetry.attempts import Attempt
from nemo_prorl.telemetry.run_folder import written

EXAMPLES = """\
examples:
  prorl reset runs/first --reason "validation has not moved for a day"

Exit codes: 0; 2 when no training is live in the folder."""


def run(arguments: list[str], *, dry_run: bool = False) -> int:
    """Ask, or with `dry_run` only say whom. Returns the exit code.

    Raises:
        ConfigError: there is no run in the folder, none that is live, or one that has no resets.
        RunFolderError: the request can't be written.
    """
    options = parser().parse_args(arguments)
    attempt = live_run(options.run_dir, "reset")
    if not _is_training(attempt):
        raise ConfigError(
            f"prorl reset: the run in {options.run_dir} is not one of prorl train, so it has nothing to reset. Nothing "
            "was written. Give the run.dir of a training"
        )
    if dry_run:
        print(f"would ask {attempt} of {options.run_dir} for a reset: {options.reason}")
        return 0
    with written(options.run_dir):
        request = ask_for_reset(options.run_dir, options.reason)
    print(
        f"{attempt} of {options.run_dir} is asked for a reset. It resets at its next step boundary and moves {request} "
        f"to {request.parent / 'done'}; metrics.jsonl has the event. Take it back by removing that file"
    )
    return 0


def _is_training(attempt: Attempt) -> bool:
    """By its settings: a training alone has a recipe. An attempt that has just begun may not have written them yet."""
    file = attempt.folder / "config.yaml"
    settings = yaml.safe_load(file.read_text(encoding="utf-8")) if file.exists() else None
    return settings is None or "recipe" in settings


def parser() -> argparse.ArgumentParser:
    """The command's options."""
    made = option_parser("prorl reset", __doc__.partition(": ")[2], EXAMPLES)
    made.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="the run's folder (run.dir)")
    made.add_argument("--reason", required=True, help="for the record: why the run needs one now")
    return made
