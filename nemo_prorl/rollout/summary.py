"""What ranks tell each other about the groups they sampled, and what is logged of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TypeVar

from nemo_prorl.data.trajectory import OUTCOMES, FinishReason, Group, Outcome

T = TypeVar("T")

SOLVED_REWARD = 0.99  # a verifier may give parts of a reward; only a whole one is a solution


@dataclass(frozen=True)
class GroupSummary:
    """A group without its tokens. `draw` counts the prompts of a step, of all ranks together, from 0."""

    draw: int
    uid: str
    domain: str
    teaches: bool
    rewards: tuple[float, ...]
    prompt_tokens: int
    response_tokens: tuple[int, ...]
    finish_reasons: tuple[FinishReason, ...]
    outcomes: tuple[Outcome, ...]
    repetitions: tuple[float, ...]

    @property
    def judged_rewards(self) -> tuple[float, ...]:
        """Those that say something about the problem: a verifier's own failure doesn't."""
        pairs = zip(self.rewards, self.outcomes, strict=True)
        return tuple(reward for reward, outcome in pairs if outcome in ("scored", "no_answer"))

    @classmethod
    def of(cls, draw: int, group: Group) -> GroupSummary:
        return cls(
            draw,
            group.prompt.uid,
            group.prompt.domain,
            group.teaches,
            group.rewards,
            len(group.prompt.token_ids),
            group.lengths,
            group.finish_reasons,
            tuple(verdict.outcome for verdict in group.verdicts),
            group.repetitions,
        )


def sampling_metrics(sampled: Sequence[GroupSummary], kept: Sequence[GroupSummary], rounds: int) -> dict[str, float]:
    """Of everything sampled in a step, and of the `kept` part that is trained on, apart."""
    rewards = _flat(group.rewards for group in sampled)
    tokens = _flat(group.response_tokens for group in sampled)
    outcomes = _flat(group.outcomes for group in sampled)
    equal = [group.rewards[0] for group in sampled if not group.teaches]
    values = {
        "reward/sampled_mean": fmean(rewards),
        "rollout/rounds": float(rounds),
        "rollout/sampled_groups": float(len(sampled)),
        "rollout/kept_groups": float(len(kept)),
        "rollout/teaching_fraction": fmean(group.teaches for group in sampled),
        "rollout/all_right_fraction": sum(reward == 1 for reward in equal) / len(sampled),
        "rollout/all_wrong_fraction": sum(reward == 0 for reward in equal) / len(sampled),
        "rollout/response_tokens_mean": fmean(tokens),
        "rollout/response_tokens_max": float(max(tokens)),
        "rollout/repetition_mean": fmean(_flat(group.repetitions for group in sampled)),
        "rollout/truncated_fraction": _fraction(_flat(group.finish_reasons for group in sampled), "length"),
        "rollout/missing_end_fraction": 1 - _fraction(_flat(group.finish_reasons for group in sampled), "stop"),
        "rollout/unjudged_fraction": _fraction(outcomes, "error") + _fraction(outcomes, "timeout"),
        **{f"rollout/{outcome}_fraction": _fraction(outcomes, outcome) for outcome in OUTCOMES},
    }
    if kept:
        values["reward/kept_mean"] = fmean(_flat(group.rewards for group in kept))
        values["rollout/kept_response_tokens_mean"] = fmean(_flat(group.response_tokens for group in kept))
    for domain, groups in by_domain(sampled).items():
        values[f"reward/{domain}/sampled_mean"] = fmean(_flat(group.rewards for group in groups))
        values[f"rollout/{domain}/sampled_groups"] = float(len(groups))
        values[f"rollout/{domain}/teaching_fraction"] = fmean(group.teaches for group in groups)
        values |= _of_domain(domain, groups)
    return values


def _of_domain(domain: str, groups: Sequence[GroupSummary]) -> dict[str, float]:
    """What hides in a mean over all domains: one that has stopped learning, grows long, or can't be judged."""
    rewards, reasons = (_flat(parts) for parts in zip(*((g.rewards, g.finish_reasons) for g in groups), strict=True))
    outcomes = _flat(group.outcomes for group in groups)
    return {
        f"reward/{domain}/solved_fraction": fmean(reward >= SOLVED_REWARD for reward in rewards),
        f"rollout/{domain}/response_tokens_mean": fmean(_flat(group.response_tokens for group in groups)),
        f"rollout/{domain}/truncated_fraction": _fraction(reasons, "length"),
        f"rollout/{domain}/repetition_mean": fmean(_flat(group.repetitions for group in groups)),
        f"rollout/{domain}/no_answer_fraction": _fraction(outcomes, "no_answer"),
        f"rollout/{domain}/error_fraction": _fraction(outcomes, "error"),
        f"rollout/{domain}/timeout_fraction": _fraction(outcomes, "timeout"),
    }


def by_domain(groups: Iterable[GroupSummary]) -> dict[str, list[GroupSummary]]:
    """Groups of each domain, domains by name."""
    parts: dict[str, list[GroupSummary]] = {}
    for group in groups:
        parts.setdefault(group.domain, []).append(group)
    return dict(sorted(parts.items()))


def why_too_few_teach(sampled: Sequence[GroupSummary]) -> str:
    """A line for each domain: what part of its groups teaches, the mean reward, and what that asks for."""
    lines = []
    for domain, groups in by_domain(sampled).items():
        reward = fmean(_flat(group.rewards for group in groups))
        cut = _fraction(_flat(group.finish_reasons for group in groups), "length")
        teaching = sum(group.teaches for group in groups)
        advice = _advice(domain, reward, cut)
        lines.append(
            f"  {domain}: {teaching} of {len(groups)} groups teach ({teaching / len(groups):.0%}), "
            f"mean reward {reward:.3f}, {cut:.0%} of answers cut at the limit{advice}"
        )
    return "\n".join(lines)


def verdict_metrics(groups: Iterable[GroupSummary]) -> dict[str, float]:
    """How many verdicts there were in each domain, and of which outcome."""
    values: dict[str, float] = {}
    for domain, parts in by_domain(groups).items():
        outcomes = _flat(group.outcomes for group in parts)
        values[f"verifier/{domain}/verdicts"] = float(len(outcomes))
        for outcome in OUTCOMES:
            values[f"verifier/{domain}/{outcome}"] = float(sum(one == outcome for one in outcomes))
            values[f"verifier/{domain}/{outcome}_fraction"] = _fraction(outcomes, outcome)
    return values


def slowest_times(of_ranks: Iterable[Mapping[str, float]]) -> dict[str, float]:
    """Of the verifier pools' metrics of all ranks the times, each of the slowest rank.

    Their counts also have the verdicts on what turned out not to be needed, and how many those are is chance.
    """
    slowest: dict[str, float] = {}
    for values in of_ranks:
        for name, value in values.items():
            if name.startswith("time/"):
                slowest[name] = max(slowest.get(name, value), value)
    return slowest


def _advice(domain: str, reward: float, cut: float) -> str:
    if cut > 0.5:
        return " -> raise context_tokens or max_response_tokens"
    if reward < 0.1:
        return f" -> too hard: easier {domain} problems, a longer cold start, or more samples_per_prompt"
    if reward > 0.9:
        return f" -> too easy: harder {domain} problems, or a lower domain_weights.{domain}"
    return ""


def _flat(parts: Iterable[Iterable[T]]) -> list[T]:
    return [item for part in parts for item in part]


def _fraction(items: Sequence[object], wanted: object) -> float:
    return sum(item == wanted for item in items) / len(items)
