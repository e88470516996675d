"""The composition root: the only room that knows every concrete class, and where every choice is made, once.

What opens is closed by the `with` of `training`, `cold_start` and `evaluation`, in the opposite order, also after an
error.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nemo_prorl.actor.export import Export
from nemo_prorl.actor.megatron_actor import MegatronActor
from nemo_prorl.actor.reference import ReferencePolicy
from nemo_prorl.algorithm.advantage import ADVANTAGES
from nemo_prorl.algorithm.correction import CORRECTIONS
from nemo_prorl.algorithm.objective import OBJECTIVES
from nemo_prorl.algorithm.policy_loss import PolicyLoss
from nemo_prorl.algorithm.reduction import AGGREGATIONS
from nemo_prorl.build.evaluating import evaluation as evaluation
from nemo_prorl.build.rollouts import collector_from, gate_from, rollout_maker
from nemo_prorl.build.stages import recipe_from
from nemo_prorl.cadence import Cadence
from nemo_prorl.config.choice import SourceConfig, as_knobs
from nemo_prorl.config.identity import RunIdentity
from nemo_prorl.config.schema import LossConfig, ProRLConfig, SFTConfig
from nemo_prorl.data.mixture import Avoidance, Mixture, Objection, Weighting, question_keys
from nemo_prorl.data.sources import SOURCES
from nemo_prorl.data.sources.base import Source
from nemo_prorl.data.sources.demonstrations import DEMONSTRATIONS
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.engine_guard import EngineGuard
from nemo_prorl.evaluation.runner import Validator
from nemo_prorl.evaluation.validation_set import ValidationSet, validation_sets
from nemo_prorl.megatron.checkpoint import Checkpoints
from nemo_prorl.megatron.layout import fitting_architecture
from nemo_prorl.megatron.model import PolicyModel, build_model
from nemo_prorl.megatron.offload import TrainingMemory
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.retention import Retention
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.schedule import Schedule
from nemo_prorl.megatron.snapshot import WeightSnapshot
from nemo_prorl.megatron.weights import load_weights
from nemo_prorl.plugins import configured
from nemo_prorl.rollout.engine import closed_at_end
from nemo_prorl.rollout.renewable_engine import RenewableEngine
from nemo_prorl.rollout.step_rewards import StepRewards
from nemo_prorl.sft import SupervisedTrainer
from nemo_prorl.telemetry.metrics import MetricsLog
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.telemetry.run import Run
from nemo_prorl.telemetry.watch import Watch, alarms_from
from nemo_prorl.trainer import ProRLTrainer
from nemo_prorl.update_guard import UpdateGuard
from nemo_prorl.verifiers.configured_pool import verifier_pool
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.hf_folder import TensorReader
from nemo_prorl.weights.identity import model_identity
from nemo_prorl.world import World, world_size_from_environment

log = logging.getLogger(__name__)


@contextmanager
def training(config: ProRLConfig, run: Run) -> Iterator[ProRLTrainer]:
    """Everything that `prorl train` needs, wired and open."""
    architecture = fitting_architecture(config, world_size_from_environment())
    recipe = recipe_from(config.recipe.stages)
    tokenizer = Tokenizer.load(Path(config.model.path))
    with ExitStack() as stack:
        pool = stack.enter_context(verifier_pool(config.verifiers))
        read_ahead = stack.enter_context(ThreadPoolExecutor(1, "read-ahead"))
        mixture, validation_sets = data_from(config, tokenizer, pool.objection, read_ahead)
        make_rollout = rollout_maker(config)
        engine = stack.enter_context(open_engine(config, architecture))
        world = engine.runtime.world
        control = run.join(world)
        metrics = stack.enter_context(_metrics_log(config, world))
        optimizer = PolicyOptimizer(engine.model, config.optimizer, total_steps=recipe.updates)
        needs_reference = any(stage.kl_weight > 0 for stage in recipe)
        rollout = stack.enter_context(
            closed_at_end(RenewableEngine(lambda: make_rollout(tokenizer=tokenizer, device=engine.runtime.device)))
        )
        export = Export.of(config, world)
        export_to = Path(config.run.dir) / "export" if config.export.at_end else None
        if export_to is not None:
            export.check(export_to)  # now rather than after weeks
        actor = MegatronActor(
            model=engine.model,
            schedule=engine.schedule,
            optimizer=optimizer,
            memory=TrainingMemory(engine.model, optimizer, config.megatron.offload),
            reference=_frozen(engine, on_host="reference" in config.megatron.offload) if needs_reference else None,
            base=_frozen(engine, on_host=True) if config.loss.kl.base_every_steps else None,
            engine=rollout,
            loss=loss_from(config.loss),
            checkpoints=stack.enter_context(_checkpoints(config, engine.runtime)),
            export=export,
        )
        collector = collector_from(
            *(config, engine.model),
            engine=rollout,
            pool=pool,
            mixture=mixture,
            world=world,
            stop_reason=control.stop_reason,
        )
        validator = None
        if validation_sets:
            validator = Validator(
                engine=rollout,
                pool=pool,
                sets=validation_sets,
                world=world,
                config=config.validation,
                run_seed=config.run.seed,
                stop_reason=control.stop_reason,
                examples_per_set=config.telemetry.samples_per_validation_set,
            )
        # The collector is no cursor: its surplus changes only once a step has all its groups.
        guard = EngineGuard(actor, [mixture], config.run.engine_renewals)
        yield ProRLTrainer(
            actor=actor,
            updates=UpdateGuard(optimizer, config.bad_updates),
            engine=guard,
            collector=collector,
            gate=gate_from(config, actor, guard, engine=rollout, mixture=mixture, world=world),
            mixture=mixture,
            rewards=StepRewards(world, configured(as_knobs(config.loss.advantage), ADVANTAGES, "loss.advantage")),
            validator=validator,
            world=world,
            recipe=recipe,
            cadence=_cadence(config),
            control=control,
            identity=_identity(config),
            metrics=metrics,
            progress=stack.enter_context(Progress(recipe.steps, is_main=world.is_main, status=run.status)),
            watch=Watch(alarms_from(config.alarms), metrics, is_main=world.is_main),
            export_to=export_to,
        )


@contextmanager
def cold_start(config: SFTConfig, run: Run) -> Iterator[SupervisedTrainer]:
    """Everything that `prorl sft` needs, wired and open."""
    architecture = fitting_architecture(config, world_size_from_environment())
    tokenizer = Tokenizer.load(Path(config.model.path))
    demonstrations = configured(as_knobs(config.sft.source), DEMONSTRATIONS, "sft.source")()
    with ExitStack() as stack:
        engine = stack.enter_context(open_engine(config, architecture))
        world = engine.runtime.world
        control = run.join(world)
        metrics = stack.enter_context(_metrics_log(config, world))
        yield SupervisedTrainer(
            model=engine.model,
            schedule=engine.schedule,
            optimizer=PolicyOptimizer(engine.model, config.optimizer, total_steps=config.sft.steps),
            demonstrations=demonstrations,
            tokenizer=tokenizer,
            config=config.sft,
            checkpoints=stack.enter_context(_checkpoints(config, engine.runtime)),
            save_every=config.checkpoint.every_steps,
            identity=_identity(config),
            metrics=metrics,
            progress=stack.enter_context(Progress(config.sft.steps, is_main=world.is_main, status=run.status)),
            control=control,
            world=world,
            export=Export.of(config, world) if config.export.at_end else None,
            export_to=Path(config.run.dir) / "export",
        )


@dataclass(frozen=True)
class _Engine:
    """The Megatron side: a process group, a model with its weights, and the way to run it."""

    runtime: Runtime
    model: PolicyModel
    schedule: Schedule


@contextmanager
def open_engine(config: ProRLConfig | SFTConfig, architecture: Architecture) -> Iterator[_Engine]:
    """Megatron with the model of model.path. Collective."""
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


def _identity(config: ProRLConfig | SFTConfig) -> RunIdentity:
    command = "sft" if isinstance(config, SFTConfig) else "train"
    return RunIdentity(command, model_identity(config.model.path), config.model_dump(mode="json"))


def _metrics_log(config: ProRLConfig | SFTConfig, world: World) -> MetricsLog:
    resolved = config.model_dump(mode="json")
    return MetricsLog(Path(config.run.dir), config.telemetry, is_main=world.is_main, resolved=resolved)


def loss_from(loss: LossConfig) -> PolicyLoss:
    """The policy loss with its knobs bound; each stage sets its own KL weight."""
    correction = loss.sampler_correction
    return PolicyLoss(
        objective=configured(as_knobs(loss.objective), OBJECTIVES, "loss.objective"),
        aggregation=configured(as_knobs(loss.aggregation), AGGREGATIONS, "loss.aggregation"),
        kl_weight=0.0,
        kl_value=loss.kl.value,
        kl_gradient=loss.kl.gradient or loss.kl.value,
        correction=None
        if correction is None
        else configured(as_knobs(correction), CORRECTIONS, "loss.sampler_correction"),
    )


def data_from(
    config: ProRLConfig, tokenizer: Tokenizer, objection: Objection, executor: Executor | None = None
) -> tuple[Mixture, list[ValidationSet]]:
    """The training mixture, without the validation problems, and those; neither has what can't be judged."""
    data, sets = config.data, held_out_from(config, tokenizer, objection)
    mixture = Mixture(
        {name: (_source(name, source, "sources"), source.weight) for name, source in data.sources.items()},
        tokenizer,
        seed=config.run.seed,
        max_prompt_tokens=data.max_prompt_tokens,
        long_prompts=data.long_prompts,
        exclude=question_keys(prompt for one in sets for prompt in one.prompts),
        objection=objection,
        weighting=Weighting(by_size=data.weighting == "by_size", temperature=data.weighting_temperature),
        max_epochs={name: source.max_epochs for name, source in data.sources.items() if source.max_epochs},
        avoidance=Avoidance(**data.avoid.model_dump()),
        executor=executor,
    )
    return mixture, sets


def held_out_from(config: ProRLConfig, tokenizer: Tokenizer, objection: Objection | None = None) -> list[ValidationSet]:
    """What is held out of training, with its problems."""
    sources = {name: _source(name, source, "held_out") for name, source in config.data.held_out.items()}
    return validation_sets(sources, config, tokenizer, objection)


def _source(name: str, source: SourceConfig, group: str) -> Source:
    made: Any = configured(as_knobs(source), SOURCES, f"data.{group}.{name}")(name)
    return made


def _frozen(engine: _Engine, *, on_host: bool) -> ReferencePolicy:
    """The model as it was loaded from model.path; a checkpoint brings back what a reference has become since."""
    return ReferencePolicy(WeightSnapshot(engine.model, on_host=on_host), engine.schedule)


def _checkpoints(config: ProRLConfig | SFTConfig, runtime: Runtime) -> Checkpoints:
    kept = config.checkpoint
    return Checkpoints(
        Path(config.run.dir) / "checkpoints",
        runtime,
        retention=Retention(kept.keep_last, _kept_best(config), kept.keep_every_steps, kept.keep_at_resets),
        asynchronous=kept.asynchronous,
    )


def _kept_best(config: ProRLConfig | SFTConfig) -> int:
    """As set; one at least where some stage resets to the best policy, which then must be there."""
    if isinstance(config, SFTConfig):
        return 0
    needed = any(stage.reset.to == "best" for stage in config.recipe.stages.values())
    return max(config.checkpoint.keep_best, int(needed))


def _cadence(config: ProRLConfig) -> Cadence:
    return Cadence(
        validate_every=config.validation.every_steps,
        validate_at_start=config.validation.at_start,
        save_every=config.checkpoint.every_steps,
        measure_base_every=config.loss.kl.base_every_steps,
        save_best=_kept_best(config) > 0,
        save_resets=config.checkpoint.keep_at_resets,
    )
