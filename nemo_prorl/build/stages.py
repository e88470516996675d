"""Stages from their settings: the rules that they follow, chosen once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nemo_prorl.algorithm.ending import AfterHours, WhenResponsesJump, WhenValidationDrops, WhenValidationStalls
from nemo_prorl.algorithm.plateau import Drop, Plateau
from nemo_prorl.algorithm.reset import AtEntry, EveryKSteps, KLAbove, OnRequest, ValidationDrops, ValidationStalls
from nemo_prorl.algorithm.shaping import SHAPINGS
from nemo_prorl.config.choice import as_knobs
from nemo_prorl.config.stage import EndConfig, ResetConfig, StageConfig
from nemo_prorl.data.blend import Blend
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.plugins import configured
from nemo_prorl.recipe import Recipe, Resets, Rule, Stage


def recipe_from(stages: Mapping[str, StageConfig]) -> Recipe:
    """Config to the nouns that the trainer knows."""
    return Recipe(tuple(_stage(name, stage) for name, stage in stages.items()))


def _stage(name: str, stage: StageConfig) -> Stage:
    return Stage(
        name=name,
        steps=stage.steps,
        prompts_per_step=stage.prompts_per_step,
        prompts_per_update=stage.prompts_per_update,
        sampling=SamplingParams(
            samples_per_prompt=stage.samples_per_prompt,
            max_response_tokens=stage.max_response_tokens or stage.context_tokens,
            context_tokens=stage.context_tokens,
            temperature=stage.temperature,
            top_p=stage.top_p,
            top_k=stage.top_k,
        ),
        kl_weight=stage.kl_weight,
        blend=Blend(
            domain_weights={str(domain): weight for domain, weight in stage.domain_weights.items()},
            exclude_domains=frozenset(stage.exclude_domains),
            source_weights=dict(stage.source_weights),
            pass_rates=stage.pass_rate_band,
        ),
        shapings={
            label: configured(as_knobs(shaping), SHAPINGS, f"recipe.stages.{name}.shaping.{label}")
            for label, shaping in stage.shaping.items()
            if shaping is not None
        },
        end_rules=tuple(_end_rules(stage.end)),
        resets=Resets(tuple(_reset_rules(stage.reset)), stage.reset.to, stage.reset.reference, stage.reset.optimizer),
    )


def _end_rules(end: EndConfig) -> Iterator[Rule]:
    if end.plateau is not None:
        yield WhenValidationStalls(Plateau(**end.plateau.model_dump()))
    if end.drop is not None:
        yield WhenValidationDrops(Drop(**end.drop.model_dump()))
    if end.response_jump is not None:
        yield WhenResponsesJump(**end.response_jump.model_dump())
    if end.max_hours is not None:
        yield AfterHours(end.max_hours)


def _reset_rules(reset: ResetConfig) -> Iterator[Rule]:
    yield OnRequest()
    if reset.at_entry:
        yield AtEntry()
    if reset.plateau is not None:
        yield ValidationStalls(Plateau(**reset.plateau.model_dump()))
    if reset.drop is not None:
        yield ValidationDrops(Drop(**reset.drop.model_dump()))
    if reset.kl_limit is not None:
        yield KLAbove(reset.kl_limit, reset.kl_window_steps)
    if reset.every_steps is not None:
        yield EveryKSteps(reset.every_steps)
