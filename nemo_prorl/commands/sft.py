"""`prorl sft`: a cold start on (messages, response) rows or on generated solutions."""

from __future__ import annotations

from nemo_prorl.commands.plan import supervised_plan
from nemo_prorl.config.load import load_config
from nemo_prorl.config.schema import SFTConfig


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Fine-tune, or with `dry_run` print the plan; `arguments` are Hydra overrides. Returns the exit code."""
    config = load_config("sft", arguments)
    assert isinstance(config, SFTConfig)
    if dry_run:
        print(supervised_plan(config))
        return 0
    from nemo_prorl import build  # torch and Megatron are loaded here, after the config has been found good

    with build.cold_start(config) as trainer:
        trainer.fit()
    return 0
