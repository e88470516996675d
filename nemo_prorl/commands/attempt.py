"""One attempt at a run, as `prorl train` and `prorl sft` make it."""

from __future__ import annotations

from typing import Any, Literal

from nemo_prorl.control import StopSignals


def attempt(command: Literal["train", "sft"], arguments: list[str], opens: str) -> int:
    """Train to the end with what `build.<opens>` wires from the settings of `command`. Returns the exit code.

    What is large is imported here, under the eyes of the signals: before, a signal kills. The run's folder is opened
    before torch and Megatron are loaded, for they have much to say.
    """
    with StopSignals() as signals:
        from nemo_prorl.config.load import load_config
        from nemo_prorl.telemetry.run import open_run
        from nemo_prorl.vigil.vigil import Vigil

        config = load_config(command, arguments)
        with open_run(config, signals) as run, Vigil(config.run.watchdog, run, run.end) as vigil:
            from nemo_prorl import build
            from nemo_prorl.commands.choices import check_choices

            check_choices(config)
            opened: Any = getattr(build, opens)
            with opened(config, run) as trainer, vigil.telling_at_once():
                trainer.fit()
    return 0
