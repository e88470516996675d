"""Watches the metrics of a run step by step and raises alarms: an event in the record and a warning in the log."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from nemo_prorl.algorithm.alarms import Alarm, Level, Reading, Rise, Rule, Stuck, is_on
from nemo_prorl.config.alarms import AlarmsConfig, LevelConfig, RewardStuck, RiseConfig
from nemo_prorl.telemetry.metrics import MetricsLog

log = logging.getLogger(__name__)

STEPS_SINCE_RESET = "reset/steps_since"


class Kind(NamedTuple):
    """What an alarm of the configuration watches. `above`: on which side of its limit trouble lies."""

    metric: str
    advice: str
    above: bool = True
    since_reset: bool = False


KINDS: Mapping[str, Kind] = {
    "entropy_collapse": Kind(
        "policy/entropy",
        "the policy has nearly stopped exploring: raise loss.objective.clip_high or temperature, or reset the "
        "reference; look whether pass@k of validation falls while pass@1 rises",
        above=False,
    ),
    "entropy_explosion": Kind(
        "policy/entropy",
        "the policy loses what it knew: lower optimizer.lr or loss.objective.clip_high, raise kl_weight, or go back to "
        "an earlier checkpoint; read samples.jsonl",
    ),
    "length_jump": Kind(
        "rollout/response_tokens_mean",
        "answers grow quickly: read samples.jsonl. If they ramble or never end, add shaping (termination_penalty); "
        "after a change of context_tokens it may be meant",
    ),
    "repetition": Kind(
        "rollout/repetition_mean",
        "answers repeat themselves: read samples.jsonl, add shaping (termination_penalty), or end the stage; the paper "
        "ended its run 3 so",
    ),
    "missing_end": Kind(
        "rollout/missing_end_fraction",
        "many answers never come to an end: raise context_tokens or max_response_tokens if they are still thinking, "
        "add shaping (termination_penalty) if they are not",
    ),
    "reward_stuck": Kind(
        "reward/sampled_mean",
        "the reward does not grow any more: reset the reference, change the stage (samples_per_prompt, domains), or "
        "end it; reward/<domain>/sampled_mean tells which domain still learns",
        above=False,
    ),
    "verifier_failures": Kind(
        "rollout/unjudged_fraction",
        "answers get 0 because their verifier failed, not because they are wrong: see verifier/<domain>/error_fraction "
        "and timeout_fraction, and the reasons in samples.jsonl; for time-outs raise verifiers.deadline_seconds",
    ),
    "kl_spike": Kind(
        "kl/reference",
        "the policy has jumped away from the reference: look at grad_norm and the samples of this step; lower "
        "optimizer.lr, raise kl_weight, or go back to an earlier checkpoint",
        since_reset=True,
    ),
    "kl_dominates": Kind(
        "kl/loss_share",
        "the KL term outweighs the reward, and updates shrink: this is when ProRL resets the reference; or lower "
        "kl_weight",
        since_reset=True,
    ),
    "gradient_spike": Kind(
        "optimizer/grad_norm",
        "an update was far larger than usual (it was clipped to optimizer.clip_grad_norm): if it happens again, lower "
        "optimizer.lr; look for broken rewards in samples.jsonl",
    ),
    "few_groups_teach": Kind(
        "rollout/teaching_fraction",
        "nearly all groups are filtered, so sampling is wasted: rollout/all_right_fraction and all_wrong_fraction tell "
        "whether problems are too easy or too hard; change domain_weights, the data, or samples_per_prompt",
        above=False,
    ),
    "sampler_mismatch": Kind(
        "policy/sampler_multiplicative_error",
        "the sampler's probabilities differ from the trainer's: run `prorl doctor rollout`, look at the rollout "
        "engine's precision and its weights; what is meant to differ is corrected by loss.sampler_correction.name="
        "token_tis",
    ),
    "sampler_drift": Kind(
        "policy/sampler_logprob_difference",
        "the sampler has moved away from the trainer within a few steps: a tensor may no longer arrive in refits, or a "
        "cache isn't emptied; run `prorl doctor rollout` on the newest checkpoint before training on",
    ),
    "correction_drops": Kind(
        "policy/correction_dropped_fraction",
        "the sampler correction leaves out many tokens, so most of the sampling is wasted: widen its bounds (low, "
        "high), take token_tis, or bring sampler and trainer closer together (precision)",
    ),
    "stale_groups": Kind(
        "policy/stale_kl",
        "the policy moves too far between sampling a group and training on it: set sampling.surplus=abort, lower "
        "sampling.oversample, or lower optimizer.lr",
    ),
    "ratios_not_one": Kind(
        "policy/approximate_kl_first_update",
        "at a step's first update the policy already differs from itself: old and new logprobs are computed "
        "differently, so every ratio is wrong; report it, with your megatron settings",
    ),
}


def alarms_from(config: AlarmsConfig) -> list[Alarm]:
    """Those that aren't switched off."""
    chosen = {name: getattr(config, name) for name in KINDS}
    return [
        Alarm(name, KINDS[name].metric, _rule(limits, KINDS[name]), KINDS[name].advice, KINDS[name].since_reset)
        for name, limits in chosen.items()
        if limits is not None
    ]


def _rule(limits: LevelConfig | RiseConfig | RewardStuck, kind: Kind) -> Rule:
    if isinstance(limits, LevelConfig):
        return Level(limits.limit, limits.steps, kind.above)
    if isinstance(limits, RiseConfig):
        return Rise(limits.times, limits.steps, limits.before_steps, limits.at_least)
    return Stuck(limits.gain, limits.steps, limits.ceiling)


class Watch:
    """Remembers as much of the metrics as the alarms look at. What it remembers is part of a checkpoint."""

    def __init__(self, alarms: Sequence[Alarm], metrics: MetricsLog, *, is_main: bool) -> None:
        self._alarms, self._metrics, self._is_main = alarms, metrics, is_main
        self._history: dict[str, list[float]] = {alarm.name: [] for alarm in alarms}
        self._on: set[str] = set()
        self._raised: Counter[str] = Counter()

    def look(self, step: int, values: Mapping[str, float]) -> dict[str, float]:
        """Take in the metrics of a step, raise what is to be raised, and tell how many alarms there were and are.

        A metric that the step doesn't have, because it was left out, changes nothing.
        """
        for alarm in self._alarms:
            history = self._history[alarm.name]
            if alarm.since_reset and values.get(STEPS_SINCE_RESET) == 1:
                history.clear()
            if alarm.metric not in values:
                continue
            history.append(values[alarm.metric])
            del history[: -alarm.rule.window]
            reading, was_on = alarm.rule.read(history), alarm.name in self._on
            if not is_on(reading, was_on):
                self._on.discard(alarm.name)
            elif not was_on and reading is not None:
                self._on.add(alarm.name)
                self._raise(step, alarm, reading)
        return {"alarm/raised": float(self._raised.total()), "alarm/active": float(len(self._on))}

    def state_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return {"history": self._history, "on": sorted(self._on), "raised": dict(self._raised)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """An alarm that is new starts without memory; one that is gone is forgotten, but for its count."""
        for name in self._history:
            self._history[name] = list(state["history"].get(name, ()))
        self._on = set(state["on"]) & self._history.keys()
        self._raised = Counter(state["raised"])

    def _raise(self, step: int, alarm: Alarm, reading: Reading) -> None:
        self._raised[alarm.name] += 1
        numbers = {"value": reading.value, "limit": reading.limit, "times_raised": float(self._raised[alarm.name])}
        values = {f"alarm/{alarm.name}/{name}": number for name, number in numbers.items()}
        self._metrics.write(step, values, kind="alarm", name=alarm.name, note=alarm.advice)
        if self._is_main:
            log.warning(
                "step %d: alarm %s: %s is %.4g, %s %.4g. Advice: %s",
                *(step, alarm.name, alarm.metric, reading.value, "above" if reading.above else "below", reading.limit),
                alarm.advice,
            )
