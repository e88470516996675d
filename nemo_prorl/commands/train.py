"""`prorl train`: prolonged reinforcement learning through a recipe's stages."""

from __future__ import annotations

from nemo_prorl.commands.attempt import attempt


def run(arguments: list[str], *, dry_run: bool) -> int:
    """Train, or with `dry_run` print the plan; `arguments` are Hydra overrides. Returns the exit code."""
    if dry_run:
        from nemo_prorl.commands.plan import training_plan
        from nemo_prorl.config.load import load_config

        print(training_plan(load_config("train", arguments)))
        return 0
    return attempt("train", arguments, opens="training", does=lambda trainer: trainer.fit())
