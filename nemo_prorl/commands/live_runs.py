"""Whom `prorl stop` and `prorl reset` speak to."""

from __future__ import annotations

from pathlib import Path

from nemo_prorl.errors import ConfigError
from nemo_prorl.telemetry.attempts import Attempt
from nemo_prorl.telemetry.run_folder import written
from nemo_prorl.telemetry.status import ENDS, read_status


def live_run(run_dir: Path, command: str) -> Attempt:
    """The attempt that lives in a run's folder, to be asked something.

    Raises:
        ConfigError: there is no run in the folder, or it isn't live.
    """
    attempt = Attempt.newest(run_dir)
    if attempt is None:
        raise ConfigError(
            f"prorl {command}: {run_dir} is not the folder of a run, for it has no attempts. Give the run.dir that the "
            "run was started with"
        )
    with written(run_dir):
        if attempt.seems_alive():
            return attempt
    said = read_status(run_dir)
    state = said.get("state", "unknown")
    ended = state if state in ENDS else f"{state} until it was killed"
    reason = f": {said['reason']}" if said.get("reason") else ""
    raise ConfigError(
        f"prorl {command}: no run is live in {run_dir}; attempt {attempt.number} was the last and is {ended}{reason}. "
        "Nothing was written. Start the run again first, with the command it was started with"
    )
