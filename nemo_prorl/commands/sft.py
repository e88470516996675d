"""`prorl sft`: a cold start on (messages, response) rows or on generated solutions."""

from __future__ import annotations

from nemo_prorl.commands.attempt import attempt


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Fine-tune, or with `dry_run` print the plan; `arguments` are Hydra overrides. Returns the exit code."""
    if dry_run:
        from nemo_prorl.commands.plan import supervised_plan
        from nemo_prorl.config.load import load_config

        print(supervised_plan(load_config("sft", arguments)))
        return 0
    return attempt("sft", arguments, opens="cold_start", does=lambda trainer: trainer.fit())
