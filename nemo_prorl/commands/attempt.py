"""One attempt at a run, as `prorl train`, `prorl sft` and `prorl evaluate` make it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

from nemo_prorl.control import StopSignals


def attempt(
    command: Literal["train", "sft", "evaluate"], arguments: list[str], opens: str, does: Callable[[Any], None]
) -> int:
    """Have what `build.<opens>` wires from the settings of `command` do its work. Returns the exit code.

    What is large is imported here, under the eyes of the signals: before, a signal kills. The run's folder is opened
    before torch and Megatron are loaded, for they have much to say.
    """
    with StopSignals() as signals:
        from nemo_prorl.config.load import load_config
        from nemo_prorl.config.schema import SFTConfig
        from nemo_prorl.telemetry.run import open_run
        from nemo_prorl.vigil.vigil import Vigil

        config = load_config(command, arguments)
        with open_run(config, signals) as run, Vigil(config.run.watchdog, run, run.end) as vigil:
            from nemo_prorl.commands.choices import check_choices
            from nemo_prorl.rollout.engine import chosen_engine

            check_choices(config)
            if not isinstance(config, SFTConfig):
                chosen_engine(config.rollout)  # which sets the process up, before Megatron sees a GPU
            from nemo_prorl import build

            opened: Any = getattr(build, opens)
            with opened(config, run) as wired, vigil.telling_at_once():
                does(wired)
    return 0
