"""Means over problems with their standard errors, and how they add up over tasks and sets."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple


class Estimate(NamedTuple):
    """A mean over problems, and its squared standard error; None when a single problem tells nothing of the others.

    The standard error is clustered: a problem is one observation, however often it was answered, since answers to one
    problem resemble each other. For x_p of P problems, each the mean over the problem's n answers (or their pass@k),

        SE^2 = sum_p (x_p - mean)^2 / (P (P - 1))

    and for a weighted mean of tasks or sets, whose problems are different ones, SE^2 = sum w^2 SE_w^2 / (sum w)^2. It
    says how the mean would change with other problems of the same kind. Two validations of a run share their problems,
    so what chance makes of their difference is less.
    """

    value: float
    variance: float | None

    @classmethod
    def of_problems(cls, values: Sequence[float]) -> Estimate:
        count, mean = len(values), math.fsum(values) / len(values)
        if count < 2:
            return cls(mean, None)
        return cls(mean, math.fsum((value - mean) ** 2 for value in values) / (count * (count - 1)))

    @classmethod
    def weighted(cls, parts: Sequence[tuple[float, Estimate]]) -> Estimate:
        """sum w x / sum w; parts of weight 0 are not looked at."""
        counting = [(weight, part) for weight, part in parts if weight > 0]
        total = math.fsum(weight for weight, _ in counting)
        value = math.fsum(weight * part.value for weight, part in counting) / total
        known = [weight**2 * part.variance for weight, part in counting if part.variance is not None]
        return cls(value, math.fsum(known) / total**2 if len(known) == len(counting) else None)

    @property
    def standard_error(self) -> float | None:
        return None if self.variance is None else math.sqrt(self.variance)

    def __str__(self) -> str:
        return f"{self.value:.3f}" + ("" if self.variance is None else f" ± {self.standard_error:.3f}")


OVERALL = "all"  # stands where a task's name stands: validation/all/pass_at_1
SCORE = "score"
REWARD = "reward_mean"
CONTINUOUS = ("logic", "instruction")  # domains whose score is the mean reward; of the others it is the share solved


def is_scored_by_reward(score: str, domain: str) -> bool:
    """Whether a problem's score is its mean reward; else it is the share of its answers that are right. `score` is
    solved, reward, or by_domain, see `CONTINUOUS`."""
    return score == "reward" or (score == "by_domain" and domain in CONTINUOUS)


def pass_name(k: int) -> str:
    return f"pass_at_{k}"


@dataclass(frozen=True)
class Scores(Mapping[str, Estimate]):
    """What is known of a task, a set, a domain or of all: score, pass_at_<k>, reward_mean, ..., each an estimate."""

    estimates: Mapping[str, Estimate]

    @classmethod
    def weighted(cls, parts: Sequence[tuple[float, Scores]]) -> Scores:
        """Of what every part has; weights that are all 0 count as equal."""
        if not any(weight > 0 for weight, _ in parts):
            parts = [(1.0, scores) for _, scores in parts]
        names = [name for name in parts[0][1] if all(name in scores for _, scores in parts)]
        return cls({name: Estimate.weighted([(weight, scores[name]) for weight, scores in parts]) for name in names})

    @property
    def pass_at_k(self) -> dict[int, float]:
        start = pass_name(0)[:-1]
        return {int(name.removeprefix(start)): e.value for name, e in self.items() if name.startswith(start)}

    def metrics(self, place: str) -> dict[str, float]:
        """By name, below `place`; those that steer or are compared have a standard error beside them, where known."""
        values: dict[str, float] = {}
        for name, estimate in self.items():
            values[f"{place}/{name}"] = estimate.value
            judged = name in (SCORE, REWARD) or name.startswith(pass_name(0)[:-1])
            if judged and estimate.standard_error is not None:
                values[f"{place}/{name}_standard_error"] = estimate.standard_error
        return values

    def __getitem__(self, name: str) -> Estimate:
        return self.estimates[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.estimates)

    def __len__(self) -> int:
        return len(self.estimates)

    def __str__(self) -> str:
        told = [f"score {self[SCORE]}", *(f"pass@{k} {value:.3f}" for k, value in self.pass_at_k.items())]
        return ", ".join(told)
