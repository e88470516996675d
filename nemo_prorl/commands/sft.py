"""`prorl sft`: a cold start on (messages, response) rows or on generated solutions."""

from __future__ import annotations

from nemo_prorl.control import StopSignals


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Fine-tune, or with `dry_run` print the plan; `arguments` are Hydra overrides. Returns the exit code."""
    if dry_run:
        from nemo_prorl.commands.plan import supervised_plan
        from nemo_prorl.config.load import load_config

        print(supervised_plan(load_config("sft", arguments)))
        return 0
    with StopSignals() as signals:
        return _run(arguments, signals)


def _run(arguments: list[str], signals: StopSignals) -> int:
    """What is large is imported here, under the eyes of `signals`: before, a signal kills.

    The run's folder is opened before torch and Megatron are loaded, for they have much to say.
    """
    from nemo_prorl.config.load import load_config
    from nemo_prorl.telemetry.run import open_run

    config = load_config("sft", arguments)
    with open_run(config, signals) as run:
        from nemo_prorl import build
        from nemo_prorl.commands.choices import check_choices

        check_choices(config)
        with build.cold_start(config, run) as trainer:
            trainer.fit()
    return 0
