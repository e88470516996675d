"""Where a run stands, besides weights and data order: what its rules look at, and what travels with each checkpoint."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nemo_prorl.errors import CheckpointError
from nemo_prorl.recipe import Recipe, Stage, TrainingState

# What a step tells that rules and reports look at: metric -> name here.
WATCHED = {
    "kl/reference": "kl",
    "rollout/response_tokens_mean": "response_tokens",
    "reward/sampled_mean": "reward",
    "policy/entropy": "entropy",
    "time/step_seconds": "seconds",
}
EFFECT_WINDOW_STEPS = 10  # a reset's effect compares averages of so many steps before and after


@dataclass(frozen=True)
class Best:
    """The best validation so far. Scores of another context length can't be compared, so it says its own.

    chosen_by  its value of `validation.best_metric`, negative where the smaller is the better
    """

    step: int
    score: float
    context_tokens: int
    chosen_by: float


@dataclass(frozen=True)
class Before:
    """How things stood when a reset happened, for the report of its effect."""

    step: int
    reward: float | None
    entropy: float | None
    response_tokens: float | None
    score: float | None


@dataclass
class RunState:
    """A run at a step boundary. The same on every rank: what it is told must be.

    step, stage                    steps done, and the stage of the next one (the last stage when all is done)
    steps_in_stage, seconds_...    of that stage
    steps_since_reset, resets      hard resets so far
    scores, stage_scores, kls, response_tokens    see `recipe.TrainingState`
    validated_at, best             the step of the newest validation; the best one
    finished_step                  the last step after which all that was due was done: validation, hand-over, reset
    policy_score                   by which the best is chosen, and context length; None: not of the present policy
    last_steps                     what is watched of the last steps, none before the last reset
    before                         of the reset whose effect is still to be reported
    """

    stage: str
    step: int = 0
    steps_in_stage: int = 0
    seconds_in_stage: float = 0.0
    steps_since_reset: int = 0
    steps_left_out: int = 0
    resets: int = 0
    scores: list[float] = field(default_factory=list)
    stage_scores: list[float] = field(default_factory=list)
    kls: list[float] = field(default_factory=list)
    response_tokens: list[float] = field(default_factory=list)
    validated_at: int | None = None
    finished_step: int = -1
    policy_score: tuple[float, int] | None = None
    best: Best | None = None
    last_steps: list[dict[str, float]] = field(default_factory=list)
    before: Before | None = None

    @classmethod
    def at_start(cls, recipe: Recipe) -> RunState:
        return cls(stage=recipe.stages[0].name)

    @classmethod
    def from_dict(cls, saved: Mapping[str, Any]) -> RunState:
        """What `as_dict` gave.

        Raises:
            CheckpointError: it is of a version of this program that kept other things.
        """
        try:
            state = cls(**saved)
        except TypeError as error:
            raise CheckpointError(
                f"the checkpoint's own state can't be read by this version of nemo_prorl: {error}. Go on with the "
                "version that wrote it (attempts/*/ in the run folder say which), or start in another run.dir"
            ) from error
        state.best = None if state.best is None else Best(**saved["best"])
        state.policy_score = None if state.policy_score is None else tuple(saved["policy_score"])
        state.before = None if state.before is None else Before(**saved["before"])
        return state

    def as_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return asdict(self)

    def seen_by_rules(self, request: str | None = None) -> TrainingState:
        """What reset rules and end rules may look at."""
        return TrainingState(
            steps_since_reset=self.steps_since_reset,
            steps_in_stage=self.steps_in_stage,
            seconds_in_stage=self.seconds_in_stage,
            scores=tuple(self.scores),
            stage_scores=tuple(self.stage_scores),
            kls=tuple(self.kls),
            response_tokens=tuple(self.response_tokens),
            request=request,
        )

    def counts(self) -> dict[str, float]:
        """What every step's record says of the steps before it."""
        return {"rollout/steps_left_out": self.steps_left_out, "reset/steps_since": self.steps_since_reset}

    # -- what happens to a run ---------------------------------------------------------------------------------------

    def stepped(self, told: Mapping[str, float]) -> None:
        """A step is done; `told` is what it says of WATCHED, as far as it says anything."""
        self.step += 1
        self.steps_in_stage += 1
        self.steps_since_reset += 1
        self.seconds_in_stage += told.get("seconds", 0.0)
        if "kl" in told:
            self.kls.append(told["kl"])
        if "response_tokens" in told:
            self.response_tokens.append(told["response_tokens"])
        self.last_steps = [*self.last_steps, dict(told)][-EFFECT_WINDOW_STEPS:]

    def validated(self, score: float, context_tokens: int, chosen_by: float | None) -> bool:
        """A validation is done; whether it is the best so far, or the first with this context length.

        `chosen_by` is what the best is chosen by, the larger the better; None: it wasn't measured this time.
        """
        self.scores.append(score)
        self.stage_scores.append(score)
        self.validated_at, self.policy_score = self.step, None
        if chosen_by is None:
            return False
        self.policy_score = chosen_by, context_tokens
        if self.best is not None and self.best.context_tokens == context_tokens and chosen_by <= self.best.chosen_by:
            return False
        self.best = Best(self.step, score, context_tokens, chosen_by)
        return True

    def entered(self, stage: Stage, former: Stage) -> None:
        """The next step belongs to `stage`. Scores of another context length are no measure of what comes."""
        is_comparable = stage.sampling.context_tokens == former.sampling.context_tokens
        self.stage, self.steps_in_stage, self.seconds_in_stage = stage.name, 0, 0.0
        self.stage_scores = self._present_score() if is_comparable else []
        self.scores = self.scores if is_comparable else []
        self.response_tokens = []

    def was_reset(self, to: Best | None, context_tokens: int) -> None:
        """Policy, reference or both were reset, `to` a best policy or, None, the present one.

        Scores begin with its own, if that was taken with the `context_tokens` that the stage has.
        """
        self.before = Before(
            step=self.step,
            reward=self._lately("reward"),
            entropy=self._lately("entropy"),
            response_tokens=self._lately("response_tokens"),
            score=self.scores[-1] if self.scores else None,
        )
        self.last_steps = []  # what comes is compared with what was
        known = self._present_score()
        if to is not None:
            known = [to.score] if to.context_tokens == context_tokens else []
            self.policy_score = self.policy_score if to.step == self.step else None
        self.resets, self.steps_since_reset, self.kls, self.scores = self.resets + 1, 0, [], known

    def before_reset(self) -> dict[str, float]:
        """How things stand when the next reset is about to happen, as its record tells it."""
        return {
            "reset/count": self.resets + 1,
            "reset/steps_since_last": self.steps_since_reset,
            "reset/kl_before": self.kls[-1] if self.kls else 0.0,
            **{f"reset/score_before_{ago}": score for ago, score in enumerate(reversed(self.scores[-5:]))},
        }

    def effect_of_reset(self) -> dict[str, float]:
        """What has changed since the last reset: averages over the last steps, before it and now. Asked for once."""
        before, self.before = self.before, None
        if before is None:
            return {}
        told = {"reset_effect/steps": float(self.step - before.step), "reset_effect/reset_at_step": float(before.step)}
        for name in ("reward", "entropy", "response_tokens"):
            then, now = getattr(before, name), self._lately(name)
            if then is not None and now is not None:
                told |= {f"reset_effect/{name}_before": then, f"reset_effect/{name}_after": now}
        is_validated = self.validated_at is not None and self.validated_at > before.step
        if is_validated and before.score is not None and self.scores:
            told |= {"reset_effect/score_before": before.score, "reset_effect/score_after": self.scores[-1]}
        return told | ({"reset_effect/kl_after": self.kls[-1]} if self.kls else {})

    @property
    def score_of_policy(self) -> tuple[float | None, str]:
        """How the policy as it is now was validated, if it was, and by what measure: others can't be compared."""
        if self.policy_score is None or self.validated_at != self.step:
            return None, ""
        chosen_by, context_tokens = self.policy_score
        return chosen_by, f"context of {context_tokens} tokens"

    def _present_score(self) -> list[float]:
        """The score of the policy as it is now, if it was validated after its last step."""
        return self.stage_scores[-1:] if self.validated_at == self.step else []

    def _lately(self, name: str) -> float | None:
        values = [told[name] for told in self.last_steps if name in told]
        return sum(values) / len(values) if values else None
