"""`prorl sft`: a cold start on (messages, response) rows or on generated solutions."""

from __future__ import annotations

from pathlib import Path

from nemo_prorl.commands.choices import check_choices
from nemo_prorl.commands.plan import supervised_plan
from nemo_prorl.config.load import load_config
from nemo_prorl.telemetry.log import configure_run_logging


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Fine-tune, or with `dry_run` print the plan; `arguments` are Hydra overrides. Returns the exit code."""
    config = load_config("sft", arguments)
    if dry_run:
        print(supervised_plan(config))
        return 0
    # Before torch and Megatron are loaded, for they have much to say; and after the config has been found good.
    configure_run_logging(Path(config.run.dir), config.telemetry.log_level)
    check_choices(config)
    from nemo_prorl import build

    with build.cold_start(config) as trainer:
        trainer.fit()
    return 0
