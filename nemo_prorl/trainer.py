"""The story: stages, steps, validation, resets, checkpoints. It can be read alone."""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from nemo_prorl.actor.interface import PolicyActor
from nemo_prorl.actor.phases import training_phase
from nemo_prorl.cadence import Cadence
from nemo_prorl.config.identity import RunIdentity
from nemo_prorl.control import RunControl, undone_when_stopped
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.mixture import Mixture
from nemo_prorl.engine_guard import EngineGuard
from nemo_prorl.errors import CheckpointError, EngineFailedError, Stopped, TrainingError
from nemo_prorl.evaluation.interface import Validator
from nemo_prorl.recipe import Recipe, Stage, first_reason
from nemo_prorl.rollout.collector import Collector
from nemo_prorl.rollout.gate import MismatchGate
from nemo_prorl.rollout.step_rewards import StepRewards, shape_group
from nemo_prorl.run_state import WATCHED, Best, RunState
from nemo_prorl.saver import Saver
from nemo_prorl.telemetry.metrics import MetricsLog, StepMetrics
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.telemetry.timer import Timer
from nemo_prorl.telemetry.watch import Watch
from nemo_prorl.update_guard import ADVICE, Rewind, UpdateGuard
from nemo_prorl.world import World

# At a step's first update the policy still is pi_old: its ratios are 1. These metrics are also kept apart for it.
FIRST_UPDATE_METRICS = ("policy/approximate_kl", "policy/ratio_max", "policy/ratio_min")

# When a reset's effect is told: late enough for the optimizer to have found its moments again.
REPORT_RESET_AFTER_STEPS = 20


class ProRLTrainer:
    """Trains a policy through a recipe's stages. Every rank runs this, on its own share of the data."""

    def __init__(
        self,
        *,
        actor: PolicyActor,
        updates: UpdateGuard,
        engine: EngineGuard,
        collector: Collector,
        gate: MismatchGate,
        mixture: Mixture,
        rewards: StepRewards,
        validator: Validator | None,
        world: World,
        recipe: Recipe,
        cadence: Cadence,
        identity: RunIdentity,
        metrics: MetricsLog,
        watch: Watch,
        progress: Progress,
        control: RunControl,
        export_to: Path | None,
    ) -> None:
        self.actor, self.updates, self.engine, self.world = actor, updates, engine, world
        self.collector, self.mixture, self.recipe, self.cadence = collector, mixture, recipe, cadence
        self.rewards, self.watch, self.control, self.metrics = rewards, watch, control, metrics
        self.validator, self.gate, self.progress, self.export_to = validator, gate, progress, export_to
        self.timer = Timer(progress.phase)
        self.state = RunState.at_start(recipe)
        self.saver = Saver(
            *(actor, identity, progress, self.timer),
            {"mixture": mixture, "surplus": collector, "validation": validator, "alarms": watch, "updates": updates},
        )

    # -- the story ---------------------------------------------------------------------------------------------------

    def fit(self) -> None:
        """From wherever the run stands to the end of its recipe.

        Raises:
            Stopped: the run was asked to stop. Everything is saved, and another `fit` goes on.
            EngineFailedError: the rollout engine fails again and again. The same.
        """
        self.resume()
        try:
            if not self.is_over:
                with self.timer("gate"):
                    self.gate.at_start(self.stage, self.state.step)
            self.finish_step()
            while not self.is_over:
                self.control.stop_if_asked()
                stage = self.stage
                self.actor.enter_stage(stage)
                try:
                    with self.timer("step"), undone_when_stopped(self.mixture):
                        step_metrics = self.train_step(stage)
                except Rewind as reason:
                    self.rewind(str(reason))
                else:
                    self.advance(stage, step_metrics)
                self.finish_step()
        except (Stopped, EngineFailedError) as stop:
            self.leave(stop)
        self.saver.wait()
        if self.export_to is not None:
            with self.timer("export"):
                self.actor.export(self.export_to)

    def finish_step(self) -> None:
        """What is due between two steps, once; who goes on from a checkpoint saved in the midst of it does the rest."""
        self.saver.tell()
        if self.state.finished_step == self.state.step:
            return
        if self.is_time_to_validate():
            self.validate()
        if self.is_over or self.state.steps_since_reset == REPORT_RESET_AFTER_STEPS:
            self.report_effect_of_reset()
        self.hand_over()
        request = self.control.reset_request(self.state.step)
        reason = self.reason_to_reset(request.reason if request is not None else None)
        if reason is not None:
            self.reset(reason)
        if request is not None and not self.is_over:
            self.control.reset_is_done(request, self.state.step)
        self.state.finished_step = self.state.step
        if self.cadence.saving_is_due(self.state, self.is_over, was_reset=reason is not None):
            self.saver.save(self.state, tags=[] if reason is None else ["reset"])

    def train_step(self, stage: Stage) -> StepMetrics:
        """One step of ProRL: sample until enough groups teach, then a few updates on them (paper, section 2)."""
        with self.timer("gate"):
            metrics = StepMetrics().add(self.gate.look(stage, self.state.step))
        with self.timer("rollout"):
            collected = self.engine.sample(lambda: self.collector.collect(stage, self.state.step))
        metrics.add(collected.metrics)
        if not collected.groups:
            return metrics.add({"rollout/step_left_out": 1.0})
        shaped = self.rewards.shaped(collected.groups, stage, self.state.step)
        batch = RolloutBatch.from_groups(shaped.groups, stage.sampling.temperature, collected.updates)
        batch = batch.with_(advantages=self.rewards.advantages(batch.rewards_GN))
        with self.timer("logprobs"):
            if collected.updates > 1:  # a step's only update compares the policy with itself
                batch = batch.with_(old_logprobs=self.actor.get_inference_log_probs(batch))
            if stage.kl_weight > 0:
                batch = batch.with_(reference_logprobs=self.actor.get_init_policy_logprobs(batch))
            if self.cadence.base_is_measured(self.state.step):
                batch = batch.with_(base_logprobs=self.actor.get_base_policy_logprobs(batch))
        with self.timer("update"), training_phase(self.actor):
            for minibatch in batch.split():
                self.actor.prepare_for_training_step()
                _, update = self.actor.get_loss_and_metrics(minibatch, forward_only=False)
                self.actor.finish_training_step()
                taken = self.updates.step(update)  # nothing of an update that would spoil the policy
                metrics.keep_first(taken, FIRST_UPDATE_METRICS)
                metrics.add(taken)
        examples = [shape_group(group, stage, self.state.step)[0] for group in collected.examples]
        self.metrics.examples(self.state.step + 1, examples)
        return metrics.add(shaped.metrics)

    def validate(self) -> None:
        """Scores of the present policy on held-out problems."""
        if (validator := self.validator) is None:
            return
        step, sampling, is_last = self.state.step, self.stage.sampling, self.is_over
        with self.timer("validation"):
            result = self.engine.sample(lambda: validator.run(step, sampling, is_last=is_last))
        self.state.validated(result.score, sampling.context_tokens, result.best)
        self.metrics.write(self.state.step, {**result.metrics, **self.timer.drain()}, kind="validation")
        self.metrics.validation_examples(self.state.step, result.examples)
        self.progress.validated(self.state.step, result.score)
        self.progress.say(f"validation at step {self.state.step}: {result.summary}")

    def hand_over(self) -> None:
        """Enter the next stage once the present one is over, and the one after it if that is over, too."""
        while (reason := self.stage.reason_to_end(self.state.seen_by_rules())) and (
            following := self.recipe.after(self.stage)
        ):
            former, steps = self.stage, self.state.steps_in_stage
            self.state.entered(following, former)
            note = f"{former.name} is over, {reason}; {following.name} begins"
            self.metrics.write(self.state.step, {"stage/steps_of_last": steps}, kind="stage", note=note)
            self.progress.say(f"step {self.state.step}: {note}")

    def reset(self, reason: str) -> None:
        """A hard reset: the reference becomes the policy, the optimizer starts afresh (paper, section 2.3.1)."""
        self.report_effect_of_reset()
        event, what = self.state.before_reset(), self.stage.resets.what
        best: Best | None = None
        with self.timer("reset"):
            if self.stage.resets.to == "best" and (best := self.return_to_best()):
                event |= {"reset/best_step": best.step, "reset/best_score": best.score}
                what += f" to the best policy, of step {best.step}"
                self.collector.forget_surplus()
            if self.stage.resets.reference:
                self.actor.reset_reference()
            if self.stage.resets.optimizer:
                self.actor.reset_optimizer()
        self.state.was_reset(best, self.stage.sampling.context_tokens)
        self.metrics.write(self.state.step, event, kind="reset", note=f"{what}: {reason}")
        self.progress.say(f"reset of {what} at step {self.state.step}: {reason}")

    def return_to_best(self) -> Best | None:
        """Take up the best-validated policy; None when there is none to be had, and the present one has to do."""
        best = self.state.best
        try:
            if best is not None and best.step != self.state.step:  # the present one's checkpoint is still to come
                self.actor.return_to(best.step)
        except CheckpointError as error:
            self.progress.say(f"the best policy, of step {best.step if best else 0}, is lost: {error}")
            return None
        return best

    # -- bookkeeping -------------------------------------------------------------------------------------------------

    def advance(self, stage: Stage, step_metrics: StepMetrics) -> None:
        """Count the step and tell what came of it."""
        values = step_metrics.values() | self.mixture.metrics() | self.timer.drain()
        # Clocks differ from rank to rank, and sums may by a rounding: rules have to see the same everywhere.
        watched = {ours: values[theirs] for theirs, ours in WATCHED.items() if theirs in values}
        self.state.stepped(self.world.broadcast(watched))
        self.state.steps_left_out += "rollout/step_left_out" in values
        values |= self.state.counts() | self.updates.counts()
        values |= self.watch.look(self.state.step, values)
        self.metrics.write(self.state.step, values, note=stage.name)
        self.progress.step(self.state.step, stage.name, values)

    @property
    def stage(self) -> Stage:
        """The one that the next step belongs to; the last one at the end."""
        return self.recipe.named(self.state.stage)

    @property
    def is_over(self) -> bool:
        """Whether the last stage is over, and so the recipe."""
        stage = self.stage
        return self.recipe.after(stage) is None and stage.reason_to_end(self.state.seen_by_rules()) is not None

    def is_time_to_validate(self) -> bool:
        """True when a validation is due, or was put off before, and has its share of the time left."""
        step, is_over = self.state.step, self.is_over
        if self.validator is None or self.state.validated_at == step:
            return False
        if step == 0:
            return self.cadence.validate_at_start
        return self.validator.takes_turn(step, is_due=self.cadence.validation_is_due(step, is_over), is_last=is_over)

    def reason_to_reset(self, request: str | None = None) -> str | None:
        """What the rules of the stage about to train say at this step boundary. `request`: of `prorl reset`."""
        return None if self.is_over else first_reason(self.stage.resets.rules, self.state.seen_by_rules(request))

    def report_effect_of_reset(self) -> None:
        """What the last reset has changed, once."""
        if effect := self.state.effect_of_reset():
            self.metrics.write(self.state.step, effect, kind="reset_effect")

    def leave(self, stop: Stopped | EngineFailedError) -> NoReturn:
        """Asked to stop, or without an engine: save what isn't saved yet, and say that the same command goes on."""
        self.progress.stopping(str(stop))
        if self.saver.lacks(self.state):
            self.saver.save(self.state, tags=["stop"])
        self.saver.wait()
        if isinstance(stop, Stopped):
            self.control.stop_is_done()
        raise type(stop)(
            f"stopped after step {self.state.step} of {self.recipe.steps} ({stop}); saved, and the same command goes on"
        ) from None

    def rewind(self, reason: str) -> None:
        """Back to the newest checkpoint; but the data go on from where they are, for with the same it would come again.

        Raises:
            TrainingError: there is none, or the run came back to this one too often.
        """
        step = self.state.step + 1
        restored = self.saver.restore(self.recipe, but=("mixture", "surplus", "updates"))
        if restored is None:
            raise TrainingError(f"step {step}: {reason}; there is no checkpoint to go back to. {ADVICE}")
        self.collector.forget_surplus()
        self.updates.rewound(restored.step)
        self.stand_at(restored)
        note = f"in step {step} {reason}; went back to the checkpoint of step {restored.step}, and on with other data"
        self.metrics.write(restored.step + 1, self.updates.counts() | self.timer.drain(), kind="rewind", note=note)
        self.progress.say(note)

    def resume(self) -> None:
        """Go on from the newest whole checkpoint; without one, start, with a clean log either way."""
        restored = self.saver.restore(self.recipe)
        self.stand_at(restored)
        if restored is not None:
            done = "complete, nothing is left to train" if self.is_over else f"resumed after step {self.state.step}"
            self.progress.say(f"the run in this folder is {done}")

    def stand_at(self, restored: RunState | None) -> None:
        """Go on from `restored`, as saved, with records up to it; None: from the start, with clean ones."""
        if restored is not None:
            self.state = restored
        is_finished = self.state.finished_step == self.state.step
        self.metrics.resume(self.state.step if restored is not None else None, boundary_is_done=is_finished)
        self.progress.resume(self.state.step)
        if not self.is_over and self.stage.reason_to_end(self.state.seen_by_rules()) is not None:
            self.state.finished_step = self.state.step - 1  # the recipe has grown since, so there is a stage to enter
