"""What stands around a rollout engine: the collector of a step's groups, and the gate between engine and trainer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from nemo_prorl.actor.interface import PolicyActor
from nemo_prorl.config.schema import ProRLConfig
from nemo_prorl.control import StopReason
from nemo_prorl.data.mixture import Mixture
from nemo_prorl.engine_guard import EngineGuard
from nemo_prorl.megatron.microbatch import packer_of
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.rollout.collector import Collector
from nemo_prorl.rollout.engine import RolloutEngine, chosen_engine
from nemo_prorl.rollout.gate import MismatchGate
from nemo_prorl.verifiers.pool import VerifierPool
from nemo_prorl.weights.estimate import training_cost
from nemo_prorl.world import World


def collector_from(
    config: ProRLConfig,
    model: PolicyModel,
    *,
    engine: RolloutEngine,
    pool: VerifierPool,
    mixture: Mixture,
    world: World,
    stop_reason: StopReason,
) -> Collector:
    """Its groups are shared out by what `model` takes for them."""
    cost = training_cost(model.architecture, config.megatron.attention_cost)
    return Collector(
        engine=engine,
        pool=pool,
        mixture=mixture,
        world=world,
        budget=config.sampling,
        run_seed=config.run.seed,
        cost=replace(cost, shares_prompt=packer_of(config.megatron, uses_te=model.uses_te).shares),
        stop_reason=stop_reason,
    )


def gate_from(
    config: ProRLConfig,
    actor: PolicyActor,
    guard: EngineGuard,
    *,
    engine: RolloutEngine,
    mixture: Mixture,
    world: World,
) -> MismatchGate:
    """Between `engine` and the trainer's own scoring, on what `mixture` gives next."""
    return MismatchGate(
        engine=engine,
        engine_name=config.rollout.name,
        refitted=guard.sample,
        score=actor.get_inference_log_probs,
        prompts=mixture,
        world=world,
        config=config.gate,
        run_seed=config.run.seed,
    )


def rollout_maker(config: ProRLConfig) -> Callable[..., RolloutEngine]:
    """What makes the rollout engine, before torch has looked for a GPU."""
    return partial(chosen_engine(config.rollout), model_path=Path(config.model.path))
