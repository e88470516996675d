"""The story: stages, steps, validation, resets, checkpoints. It can be read alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from nemo_prorl.actor.interface import PolicyActor
from nemo_prorl.actor.phases import inference_phase, training_phase
from nemo_prorl.algorithm.reduction import Metric
from nemo_prorl.config.identity import RunIdentity
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.mixture import Mixture
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Group
from nemo_prorl.errors import CheckpointError
from nemo_prorl.recipe import Recipe, Stage, TrainingState
from nemo_prorl.rollout.collector import Collector
from nemo_prorl.rollout.step_rewards import StepRewards, shape_group
from nemo_prorl.telemetry.metrics import MetricsLog, StepMetrics
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.telemetry.timer import Timer
from nemo_prorl.telemetry.watch import Watch

# At a step's first update the policy still is pi_old: its ratios are 1. These metrics are also kept apart for it.
FIRST_UPDATE_METRICS = ("policy/approximate_kl", "policy/ratio_max", "policy/ratio_min")


class Optimizer(Protocol):
    """The one verb the step needs of an optimizer."""

    def step(self) -> Mapping[str, Metric | float]: ...


class Validated(Protocol):
    """What came of a validation: one score to steer by, metrics to log, a line to read."""

    @property
    def score(self) -> float: ...

    @property
    def metrics(self) -> Mapping[str, float]: ...

    @property
    def best(self) -> float | None:
        """What the best checkpoint is chosen by, the larger the better; None: not measured this time."""
        ...

    @property
    def summary(self) -> str: ...

    @property
    def examples(self) -> Mapping[str, Sequence[Group]]: ...


class Validator(Protocol):
    """Judges the policy on held-out problems, and decides whether it is time to. Its memory is part of a checkpoint."""

    def takes_turn(self, step: int, *, is_due: bool, is_last: bool) -> bool: ...

    def run(self, step: int, sampling: SamplingParams, *, is_last: bool = False) -> Validated: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True)
class Cadence:
    """When the trainer does more than step. None: never by the clock."""

    validate_every: int | None = None
    validate_at_start: bool = True
    save_every: int | None = None
    measure_base_every: int | None = None


@dataclass
class Progressed:
    """What a resumed run must know besides weights: it travels with the checkpoint."""

    step: int = 0
    steps_since_reset: int = 0
    steps_left_out: int = 0
    resets: int = 0
    kl: float = 0.0
    scores: list[float] = field(default_factory=list)


class ProRLTrainer:
    """Trains a policy through a recipe's stages. Every rank runs this, on its own share of the data."""

    def __init__(
        self,
        *,
        actor: PolicyActor,
        optimizer: Optimizer,
        collector: Collector,
        mixture: Mixture,
        rewards: StepRewards,
        validator: Validator | None,
        recipe: Recipe,
        cadence: Cadence,
        identity: RunIdentity,
        metrics: MetricsLog,
        watch: Watch,
        progress: Progress,
        export_to: Path | None,
    ) -> None:
        self.actor, self.optimizer, self.collector, self.mixture = actor, optimizer, collector, mixture
        self.rewards = rewards
        self.validator, self.recipe, self.cadence, self.identity = validator, recipe, cadence, identity
        self.metrics, self.watch, self.progress, self.export_to = metrics, watch, progress, export_to
        self.timer = Timer()
        self.state = Progressed()

    # -- the story ---------------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """From wherever the run stands to the end of its recipe."""
        self.resume()
        if self.state.step == 0 and self.cadence.validate_at_start:
            self.validate()
        while self.state.step < self.recipe.steps:
            stage, _ = self.recipe.stage_at(self.state.step)
            self.actor.enter_stage(stage)
            with self.timer("step"):
                step_metrics = self.train_step(stage)
            self.advance(stage, step_metrics)
            if self.is_time_to_validate():
                self.validate()
            if reason := self.reason_to_reset():
                self.reset(reason)
            if self.is_due(self.cadence.save_every):
                self.save()
        if self.export_to is not None:
            self.actor.export(self.export_to)

    def train_step(self, stage: Stage) -> StepMetrics:
        """One step of ProRL: sample until enough groups teach, then a few updates on them (paper, section 2)."""
        metrics = StepMetrics()
        with self.timer("rollout"), inference_phase(self.actor):
            collected = self.collector.collect(stage, self.state.step)
        metrics.add(collected.metrics)
        if not collected.groups:
            return metrics.add({"rollout/step_left_out": 1.0})
        shaped = self.rewards.shaped(collected.groups, stage, self.state.step)
        batch = RolloutBatch.from_groups(shaped.groups, stage.sampling.temperature)
        batch = batch.with_(advantages=self.rewards.advantages(batch.rewards_GN))
        with self.timer("logprobs"):
            if collected.updates > 1:  # a step's only update compares the policy with itself
                batch = batch.with_(old_logprobs=self.actor.get_inference_log_probs(batch))
            if stage.kl_weight > 0:
                batch = batch.with_(reference_logprobs=self.actor.get_init_policy_logprobs(batch))
            if self.measures_base():
                batch = batch.with_(base_logprobs=self.actor.get_base_policy_logprobs(batch))
        with self.timer("update"), training_phase(self.actor):
            for minibatch in batch.split(collected.updates):
                self.actor.prepare_for_training_step()
                _, update = self.actor.get_loss_and_metrics(minibatch, forward_only=False)
                self.actor.finish_training_step()
                metrics.keep_first(update, FIRST_UPDATE_METRICS)
                metrics.add(update).add(self.optimizer.step())
        examples = [shape_group(group, stage, self.state.step)[0] for group in collected.examples]
        self.metrics.examples(self.state.step + 1, examples)
        return metrics.add(shaped.metrics)

    def validate(self) -> None:
        """Scores of the present policy on held-out problems."""
        if self.validator is None:
            return
        with self.timer("validation"), inference_phase(self.actor):
            result = self.validator.run(self.state.step, self.sampling_stage().sampling, is_last=self.is_at_end())
        self.state.scores.append(result.score)
        self.metrics.write(self.state.step, {**result.metrics, **self.timer.drain()}, kind="validation")
        self.metrics.validation_examples(self.state.step, result.examples)
        self.progress.say(f"validation at step {self.state.step}: {result.summary}")

    def reset(self, reason: str) -> None:
        """A hard reset: the reference becomes the policy, the optimizer starts afresh (paper, section 2.3.1)."""
        stage = self.sampling_stage()
        done = []
        if stage.reset_reference:
            self.actor.reset_reference()
            done.append("reference")
        if stage.reset_optimizer:
            self.actor.reset_optimizer()
            done.append("optimizer")
        self.state.resets += 1
        event = {
            "reset/count": self.state.resets,
            "reset/steps_since_last": self.state.steps_since_reset,
            "reset/kl_before": self.state.kl,
        }
        self.state.steps_since_reset, self.state.kl, self.state.scores = 0, 0.0, []
        self.metrics.write(self.state.step, event, kind="reset", note=reason)
        self.progress.say(f"reset of {' and '.join(done)} at step {self.state.step}: {reason}")

    # -- bookkeeping -------------------------------------------------------------------------------------------------

    def advance(self, stage: Stage, step_metrics: StepMetrics) -> None:
        """Count the step and tell what came of it."""
        self.state.step += 1
        self.state.steps_since_reset += 1
        values = step_metrics.values()
        if "kl/reference" in values:
            self.state.kl = values["kl/reference"]
        self.state.steps_left_out += "rollout/step_left_out" in values
        values["rollout/steps_left_out"] = self.state.steps_left_out
        values["reset/steps_since"] = self.state.steps_since_reset
        values |= self.mixture.metrics() | self.timer.drain()
        values |= self.watch.look(self.state.step, values)
        self.metrics.write(self.state.step, values, note=stage.name)
        self.progress.step(self.state.step, stage.name, values)

    def is_due(self, every: int | None) -> bool:
        """True every so many steps and after the last one."""
        return self.is_at_end() or (every is not None and self.state.step % every == 0)

    def measures_base(self) -> bool:
        """True in every so many steps, the first of them included: then reference and base are the same still."""
        every = self.cadence.measure_base_every
        return every is not None and self.state.step % every == 0

    def is_at_end(self) -> bool:
        """True after the recipe's last step."""
        return self.state.step == self.recipe.steps

    def is_time_to_validate(self) -> bool:
        """True when a validation is due, or was put off before, and has its share of the time left."""
        is_due = self.is_due(self.cadence.validate_every)
        validator = self.validator
        return validator is not None and validator.takes_turn(self.state.step, is_due=is_due, is_last=self.is_at_end())

    def sampling_stage(self) -> Stage:
        """The stage that the next step belongs to; the last one at the end."""
        return self.recipe.stage_at(min(self.state.step, self.recipe.steps - 1))[0]

    def reason_to_reset(self) -> str | None:
        """What the rules of the stage about to train say at this step boundary."""
        if self.state.step == self.recipe.steps:
            return None
        stage, done = self.recipe.stage_at(self.state.step)
        state = TrainingState(self.state.steps_since_reset, done, tuple(self.state.scores), self.state.kl)
        return next(filter(None, (rule.reason(state) for rule in stage.reset_rules)), None)

    def save(self) -> None:
        """Everything that going on needs, whole or not at all."""
        with self.timer("checkpoint"):
            self.actor.save_checkpoint(self.state.step, self.state_dict())

    def resume(self) -> None:
        """Go on from the newest whole checkpoint; without one, start, with a clean log either way."""
        restored = self.actor.restore_checkpoint()
        if restored is not None:
            self.load_state_dict(restored)
            is_complete = self.state.step == self.recipe.steps
            done = "complete, nothing is left to train" if is_complete else f"resumed after step {self.state.step}"
            self.progress.say(f"the run in this folder is {done}")
        self.metrics.resume(self.state.step if restored is not None else None)
        self.progress.resume(self.state.step)

    def state_dict(self) -> dict[str, Any]:
        return {
            "progressed": vars(self.state).copy(),
            "mixture": self.mixture.state_dict(),
            "validation": None if self.validator is None else self.validator.state_dict(),
            "alarms": self.watch.state_dict(),
            **self.identity.as_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up a saved state.

        Raises:
            CheckpointError: it belongs to a run of another model, or to a longer recipe.
        """
        changed = self.identity.recognise(state)
        self.state = Progressed(**state["progressed"])
        if self.state.step > self.recipe.steps:
            raise CheckpointError(
                f"the run in this folder has done {self.state.step} steps, more than the {self.recipe.steps} of this "
                "recipe; choose another run.dir, or a recipe that goes on from there"
            )
        self.mixture.load_state_dict(state["mixture"])
        self.watch.load_state_dict(state["alarms"])
        if self.validator is not None and state["validation"] is not None:
            self.validator.load_state_dict(state["validation"])
        for change in changed:
            self.progress.say(f"since the checkpoint this has changed: {change}")
