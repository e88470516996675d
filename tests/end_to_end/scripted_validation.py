"""A whole trainer whose validations are a script: its stages and resets can be told beforehand, step by step."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from nemo_prorl import build
from nemo_prorl.config.load import load_config
from nemo_prorl.control import StopSignals
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.telemetry.run import open_run
from nemo_prorl.trainer import ProRLTrainer

Weights = list[torch.Tensor]


@dataclass(frozen=True)
class Scripted:
    """What a validation came to, as the script has it."""

    score: float
    summary: str = "as the script has it"

    examples: Mapping[str, Any] = field(default_factory=dict)

    @property
    def best(self) -> float:
        return self.score

    @property
    def metrics(self) -> Mapping[str, float]:
        return {"validation/all/pass_at_1": self.score}


@dataclass
class Script:
    """A validator that gives the score of each step from a table, and keeps the weights that it was asked about."""

    scores: Mapping[int, float]
    trainer: ProRLTrainer
    weights: dict[int, Weights] = field(default_factory=dict)

    def takes_turn(self, step: int, *, is_due: bool, is_last: bool) -> bool:
        return is_due

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        pass

    def run(self, step: int, sampling: SamplingParams, *, is_last: bool = False) -> Scripted:
        self.weights[step] = policy_weights(self.trainer)
        return Scripted(self.scores[step])


def follow(arguments: Sequence[str], scores: Mapping[int, float], lost: Path | None = None) -> list[dict[str, Any]]:
    """`prorl train` to the end with these validation scores; what each reset left behind, in order.

    `lost`: a file that is gone by the time of the first reset.
    """
    config = load_config(*arguments[:1], arguments[1:])
    with StopSignals() as signals, open_run(config, signals) as run, build.training(config, run) as trainer:
        script = Script(scores, trainer)
        trainer.validator = script
        resets: list[dict[str, Any]] = []
        trainer.reset = observed(trainer, script, resets, lost)  # type: ignore[method-assign]
        trainer.fit()
    return resets


def observed(
    trainer: ProRLTrainer, script: Script, into: list[dict[str, Any]], lost: Path | None
) -> Callable[[str], None]:
    reset = trainer.reset

    def observe(reason: str) -> None:
        actor: Any = trainer.actor
        if lost is not None and not into:
            lost.unlink()
        lr, kept = actor.optimizer.lr, moments(trainer)
        reset(reason)
        gap = (actor.get_inference_log_probs(a_batch()) - actor.get_init_policy_logprobs(a_batch())).abs().max()
        now = policy_weights(trainer)
        into.append(
            {
                "step": trainer.state.step,
                "gap": float(gap),
                "lr_changed": actor.optimizer.lr != lr,
                "moments_zero": all(not bool(moment.any()) for moment in moments(trainer)),
                "moments_kept": all(map(torch.equal, moments(trainer), kept)),
                "weights_of": [step for step, weights in script.weights.items() if equal(weights, now)],
            }
        )

    return observe


def policy_weights(trainer: ProRLTrainer) -> Weights:
    actor: Any = trainer.actor
    return [parameter.detach().clone() for parameter in actor._model.parameters()]


def equal(one: Weights, other: Weights) -> bool:
    return all(map(torch.equal, one, other))


def moments(trainer: ProRLTrainer) -> list[torch.Tensor]:
    actor: Any = trainer.actor
    return [
        state[name].clone()
        for torch_optimizer in actor.optimizer.torch_optimizers()
        for state in torch_optimizer.state.values()
        for name in ("exp_avg", "exp_avg_sq")
    ]


def a_batch() -> RolloutBatch:
    """Two rows of 3 prompt and 4 response tokens."""
    return RolloutBatch(
        tokens_BS=torch.arange(14).view(2, 7) + 20,
        prompt_lengths_B=torch.tensor([3, 3]),
        lengths_B=torch.tensor([7, 7]),
        rewards_GN=torch.tensor([[1.0, 0.0]]),
        temperature=1.2,
        domains_B=("instruction",) * 2,
    )
