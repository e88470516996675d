"""The composition root: the only file that knows every concrete class, and where every choice is made, once.

What opens is closed by the `with` of `training` and `cold_start`, in the opposite order, also after an error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nemo_prorl.actor.export import Export
from nemo_prorl.actor.megatron_actor import MegatronActor
from nemo_prorl.actor.reference import ReferencePolicy
from nemo_prorl.algorithm.objective import OBJECTIVES
from nemo_prorl.algorithm.policy_loss import PolicyLoss
from nemo_prorl.algorithm.reduction import AGGREGATIONS
from nemo_prorl.algorithm.reset import AtEntry, EveryKSteps
from nemo_prorl.config.identity import RunIdentity
from nemo_prorl.config.schema import (
    LossConfig,
    MegatronConfig,
    ProRLConfig,
    RunConfig,
    SFTConfig,
    SourceConfig,
    StageConfig,
    as_knobs,
)
from nemo_prorl.config.verifiers import VerifierPoolConfig
from nemo_prorl.data.mixture import Mixture, Objection, held_out, question_keys
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.sources import SOURCES
from nemo_prorl.data.sources.base import Source
from nemo_prorl.data.sources.demonstrations import DEMONSTRATIONS
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.evaluation.runner import Validator
from nemo_prorl.megatron.checkpoint import Checkpoints
from nemo_prorl.megatron.layout import fitting_architecture
from nemo_prorl.megatron.microbatch import packer_of
from nemo_prorl.megatron.model import PolicyModel, build_model
from nemo_prorl.megatron.offload import TrainingMemory
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.schedule import Schedule
from nemo_prorl.megatron.snapshot import WeightSnapshot
from nemo_prorl.megatron.weights import load_weights
from nemo_prorl.plugins import configured
from nemo_prorl.recipe import Recipe, ResetRule, Stage
from nemo_prorl.rollout.collector import Collector
from nemo_prorl.rollout.engine import ROLLOUT_ENGINES
from nemo_prorl.sft import SupervisedTrainer
from nemo_prorl.telemetry.metrics import MetricsLog
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.trainer import Cadence, ProRLTrainer
from nemo_prorl.verifiers.pool import VerifierPool
from nemo_prorl.verifiers.sandbox import SandboxSettings
from nemo_prorl.weights.architecture import Architecture, read_hf_config
from nemo_prorl.weights.estimate import training_cost
from nemo_prorl.weights.hf_folder import TensorReader
from nemo_prorl.weights.identity import model_identity
from nemo_prorl.weights.training_card import training_card
from nemo_prorl.world import World, world_size_from_environment

log = logging.getLogger(__name__)


@contextmanager
def training(config: ProRLConfig) -> Iterator[ProRLTrainer]:
    """Everything that `prorl train` needs, wired and open."""
    architecture = fitting_architecture(config, world_size_from_environment())
    recipe = recipe_from(config.recipe.stages)
    tokenizer = Tokenizer.load(Path(config.model.path))
    with ExitStack() as stack:
        pool = stack.enter_context(verifier_pool(config.verifiers))
        mixture, validation_prompts = data_from(config, tokenizer, pool.objection)
        engine = stack.enter_context(_open_engine(config, architecture))
        world = engine.runtime.world
        metrics = stack.enter_context(_metrics_log(config, world))
        updates = sum(stage.steps * stage.updates_per_step for stage in recipe)
        optimizer = PolicyOptimizer(engine.model, config.optimizer, total_steps=updates)
        needs_reference = any(stage.kl_weight > 0 for stage in recipe)
        rollout = configured(as_knobs(config.rollout), ROLLOUT_ENGINES, "rollout")(
            model_path=Path(config.model.path), tokenizer=tokenizer, device=engine.runtime.device
        )
        export = _export(config, world)
        export_to = Path(config.run.dir) / "export" if config.export.at_end else None
        if export_to is not None:
            export.check(export_to)  # now rather than after weeks
        actor = MegatronActor(
            model=engine.model,
            schedule=engine.schedule,
            optimizer=optimizer,
            memory=TrainingMemory(engine.model, optimizer, config.megatron.offload),
            reference=_reference(engine, config.megatron) if needs_reference else None,
            engine=rollout,
            loss=loss_from(config.loss),
            checkpoints=Checkpoints(_checkpoints(config.run), engine.runtime, keep_last=config.checkpoint.keep_last),
            export=export,
        )
        collector = Collector(
            engine=rollout,
            pool=pool,
            mixture=mixture,
            world=world,
            budget=config.sampling,
            run_seed=config.run.seed,
            cost=replace(
                training_cost(architecture),
                shares_prompt=packer_of(config.megatron, uses_te=engine.model.uses_te).shares,
            ),
        )
        validator = None
        if validation_prompts:
            validator = Validator(
                engine=rollout,
                pool=pool,
                prompts=validation_prompts,
                world=world,
                config=config.validation,
                run_seed=config.run.seed,
            )
        yield ProRLTrainer(
            actor=actor,
            optimizer=optimizer,
            collector=collector,
            mixture=mixture,
            validator=validator,
            recipe=recipe,
            cadence=Cadence(config.validation.every_steps, config.validation.at_start, config.checkpoint.every_steps),
            identity=_identity(config),
            metrics=metrics,
            progress=stack.enter_context(Progress(recipe.steps, is_main=world.is_main)),
            export_to=export_to,
        )


@contextmanager
def cold_start(config: SFTConfig) -> Iterator[SupervisedTrainer]:
    """Everything that `prorl sft` needs, wired and open."""
    architecture = fitting_architecture(config, world_size_from_environment())
    tokenizer = Tokenizer.load(Path(config.model.path))
    demonstrations = configured(as_knobs(config.sft.source), DEMONSTRATIONS, "sft.source")()
    with ExitStack() as stack:
        engine = stack.enter_context(_open_engine(config, architecture))
        world = engine.runtime.world
        metrics = stack.enter_context(_metrics_log(config, world))
        yield SupervisedTrainer(
            model=engine.model,
            schedule=engine.schedule,
            optimizer=PolicyOptimizer(engine.model, config.optimizer, total_steps=config.sft.steps),
            demonstrations=demonstrations,
            tokenizer=tokenizer,
            config=config.sft,
            checkpoints=Checkpoints(_checkpoints(config.run), engine.runtime, keep_last=config.checkpoint.keep_last),
            save_every=config.checkpoint.every_steps,
            identity=_identity(config),
            metrics=metrics,
            progress=stack.enter_context(Progress(config.sft.steps, is_main=world.is_main)),
            world=world,
            export=_export(config, world) if config.export.at_end else None,
            export_to=Path(config.run.dir) / "export",
        )


@dataclass(frozen=True)
class _Engine:
    """The Megatron side: a process group, a model with its weights, and the way to run it."""

    runtime: Runtime
    model: PolicyModel
    schedule: Schedule


@contextmanager
def _open_engine(config: ProRLConfig | SFTConfig, architecture: Architecture) -> Iterator[_Engine]:
    run, megatron = config.run, config.megatron
    log.info(
        "model %s (%s parameters), %d ranks, run folder %s",
        *(config.model.path, f"{architecture.parameter_count:,}", world_size_from_environment(), run.dir),
    )
    with Runtime.start(megatron, seed=run.seed, torch_threads=run.torch_threads) as runtime:
        model = build_model(architecture, megatron, runtime)
        with TensorReader(Path(config.model.path)) as reader:
            load_weights(model, reader)
        yield _Engine(runtime, model, Schedule(model, runtime))


def _export(config: ProRLConfig | SFTConfig, world: World) -> Export:
    path, command = Path(config.model.path), "train" if isinstance(config, ProRLConfig) else "sft"
    settings, base = config.model_dump(mode="json"), read_hf_config(path)
    return Export(config.export, path, world, card=lambda name: training_card(name, command, settings, base))


def _identity(config: ProRLConfig | SFTConfig) -> RunIdentity:
    command = "sft" if isinstance(config, SFTConfig) else "train"
    return RunIdentity(command, model_identity(config.model.path), config.model_dump(mode="json"))


def _metrics_log(config: ProRLConfig | SFTConfig, world: World) -> MetricsLog:
    resolved = config.model_dump(mode="json")
    return MetricsLog(Path(config.run.dir), config.telemetry, is_main=world.is_main, resolved=resolved)


def recipe_from(stages: Mapping[str, StageConfig]) -> Recipe:
    """Config to the nouns that the trainer knows."""
    return Recipe(tuple(_stage(name, stage) for name, stage in stages.items()))


def _stage(name: str, stage: StageConfig) -> Stage:
    rules: list[ResetRule] = []
    if stage.reset.at_entry:
        rules.append(AtEntry())
    if stage.reset.every_steps is not None:
        rules.append(EveryKSteps(stage.reset.every_steps))
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
        domain_weights={str(domain): weight for domain, weight in stage.domain_weights.items()},
        reset_rules=tuple(rules),
        reset_reference=stage.reset.reference,
        reset_optimizer=stage.reset.optimizer,
    )


def loss_from(loss: LossConfig) -> PolicyLoss:
    """The policy loss with its knobs bound; each stage sets its own KL weight."""
    correction = loss.sampler_correction
    return PolicyLoss(
        objective=configured(as_knobs(loss.objective), OBJECTIVES, "loss.objective"),
        aggregation=configured(as_knobs(loss.aggregation), AGGREGATIONS, "loss.aggregation"),
        kl_weight=0.0,
        kl_value=loss.kl.value,
        kl_gradient=loss.kl.gradient or loss.kl.value,
        correction_max_weight=correction.max_weight if correction.enabled else None,
    )


def data_from(config: ProRLConfig, tokenizer: Tokenizer, objection: Objection) -> tuple[Mixture, list[Prompt]]:
    """The training mixture, without the validation problems, and those; neither has what can't be judged."""
    prompts = held_out_from(config, tokenizer, objection)
    mixture = Mixture(
        {name: (_source(name, source, "sources"), source.weight) for name, source in config.data.sources.items()},
        tokenizer,
        seed=config.run.seed,
        max_prompt_tokens=config.data.max_prompt_tokens,
        long_prompts=config.data.long_prompts,
        exclude=question_keys(prompts),
        objection=objection,
    )
    return mixture, prompts


def held_out_from(config: ProRLConfig, tokenizer: Tokenizer, objection: Objection | None = None) -> list[Prompt]:
    """The validation problems."""
    return held_out(
        {name: _source(name, source, "held_out") for name, source in config.data.held_out.items()},
        tokenizer,
        problems_per_task=config.validation.problems_per_task,
        max_prompt_tokens=config.data.max_prompt_tokens,
        long_prompts=config.data.long_prompts,
        objection=objection,
    )


def _source(name: str, source: SourceConfig, group: str) -> Source:
    made: Any = configured(as_knobs(source, "weight"), SOURCES, f"data.{group}.{name}")(name)
    return made


def _reference(engine: _Engine, config: MegatronConfig) -> ReferencePolicy:
    return ReferencePolicy(WeightSnapshot(engine.model, on_host="reference" in config.offload), engine.schedule)


def verifier_pool(verifiers: VerifierPoolConfig) -> VerifierPool:
    """The processes that judge; to be used with `with`."""
    settings = verifiers.model_dump(exclude={"sandbox"})
    return VerifierPool(**settings, sandbox=SandboxSettings(**verifiers.sandbox.model_dump()))


def _checkpoints(run: RunConfig) -> Path:
    return Path(run.dir) / "checkpoints"
