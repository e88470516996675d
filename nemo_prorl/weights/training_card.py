"""The model card of a policy: the run's settings, as its checkpoints keep them, told to whoever gets the model."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from nemo_prorl.config.stage import RESET_RULES
from nemo_prorl.weights.model_card import base_model_of, model_card

Settings = Mapping[str, Any]  # the resolved configuration, as JSON has it


def training_card(
    title: str, command: str, settings: Settings, base_config: Mapping[str, Any], *, steps: int | None = None
) -> str:
    """The card of what `prorl <command>` made with `settings`; `steps` it had taken, None: all of them."""
    base = base_model_of(Path(settings["model"]["path"]), base_config)
    taken = {} if steps is None else {"steps taken": steps}
    if command == "train":
        rows = taken | dict(_reinforcement_rows(settings))
        return model_card(title, base, _reinforced(settings), rows, method="reinforcement-learning")
    story = "Fine-tuned on demonstrations by nemo-prorl on Megatron Core (a cold start for reinforcement learning)."
    return model_card(title, base, story, taken | dict(_common_rows(settings)), method="sft")


def _reinforced(settings: Settings) -> str:
    stages = settings["recipe"]["stages"].values()
    resets = [stage["reset"] for stage in stages if any(stage["reset"][rule] for rule in RESET_RULES)]
    reset = [f"the {part}" for part in ("reference", "optimizer") if any(one[part] for one in resets)]
    parts = ["group-relative advantages", f"the objective {settings['loss']['objective']['name']}"]
    if settings["sampling"]["drop_equal_groups"]:
        parts.append("dynamic sampling")
    if any(stage["kl_weight"] > 0 for stage in stages):
        parts.append("a KL penalty to a reference policy")
    if reset:
        parts.append(f"resets of {' and '.join(reset)} where a stage says so")
    return (
        "Trained by reinforcement learning from verifiable rewards with nemo-prorl on Megatron Core, after ProRL "
        f"(https://arxiv.org/abs/2505.24864): {', '.join(parts)}."
    )


def _reinforcement_rows(settings: Settings) -> Iterator[tuple[str, Any]]:
    for name, stage in settings["recipe"]["stages"].items():
        yield (
            f"stage {name}",
            f"{stage['steps']} steps of {stage['prompts_per_step']} prompts x {stage['samples_per_prompt']} samples, "
            f"{stage['prompts_per_update']} prompts an update, context {stage['context_tokens']}, temperature "
            f"{stage['temperature']}, KL weight {stage['kl_weight']}",
        )
    yield "objective", settings["loss"]["objective"]
    yield "aggregation", settings["loss"]["aggregation"]
    yield "data", ", ".join(settings["data"]["sources"])
    yield "rollouts", settings["rollout"]["name"]
    yield from _common_rows(settings)


def _common_rows(settings: Settings) -> Iterator[tuple[str, Any]]:
    optimizer, megatron = settings["optimizer"], settings["megatron"]
    yield "optimizer", f"AdamW, lr {optimizer['lr']}, weight decay {optimizer['weight_decay']}"
    yield "precision", megatron["precision"]
    yield "seed", settings["run"]["seed"]
