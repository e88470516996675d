"""When a series of validation scores has stopped rising, or has fallen. Pure; resets and the ends of stages ask it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nemo_prorl.errors import ConfigError


@dataclass(frozen=True)
class Plateau:
    """No better score in `patience` validations: the paper's "validation performance stagnates" (section 3.2).

    A score is better when it passes the best one so far by more than `min_delta`. With `smoothing` above 1 each score
    is first averaged with those before it, so many in all: single validations of few problems are noisy.
    """

    patience: int
    min_delta: float = 0.0
    smoothing: int = 1

    def __post_init__(self) -> None:
        if self.patience < 1 or self.smoothing < 1 or self.min_delta < 0:
            raise ConfigError(f"{self}: patience and smoothing are at least 1, min_delta at least 0")

    def found_in(self, scores: Sequence[float]) -> str | None:
        """What is seen in `scores`, oldest first, or None.

        >>> Plateau(patience=2).found_in([0.2, 0.5, 0.4, 0.5])
        'no validation better than 0.5000 in the last 2'
        """
        level, at = float("-inf"), 0
        smooth = smoothed(scores, self.smoothing)
        for number, score in enumerate(smooth):
            if not number or score > level + self.min_delta:
                level, at = score, number
        if len(smooth) - 1 - at < self.patience:
            return None
        return f"no validation better than {level:.4f} in the last {len(smooth) - 1 - at}{self._by}"

    @property
    def _by(self) -> str:
        parts = [f" by {self.min_delta:g}"] if self.min_delta else []
        parts += [f" (averages of {self.smoothing})"] if self.smoothing > 1 else []
        return "".join(parts)


@dataclass(frozen=True)
class Drop:
    """The newest score lies more than `limit` below the best one: the paper's "or degrades". `smoothing` as above."""

    limit: float
    smoothing: int = 1

    def __post_init__(self) -> None:
        if self.limit <= 0 or self.smoothing < 1:
            raise ConfigError(f"{self}: limit is above 0 and smoothing at least 1")

    def found_in(self, scores: Sequence[float]) -> str | None:
        """What is seen in `scores`, oldest first, or None.

        >>> Drop(limit=0.1).found_in([0.2, 0.5, 0.35])
        'validation has fallen to 0.3500 from 0.5000, by more than 0.1'
        """
        smooth = smoothed(scores, self.smoothing)
        if not smooth or max(smooth) - smooth[-1] <= self.limit:
            return None
        return f"validation has fallen to {smooth[-1]:.4f} from {max(smooth):.4f}, by more than {self.limit:g}"


def smoothed(scores: Sequence[float], window: int) -> list[float]:
    """Each score averaged with those before it, `window` in all, fewer at the beginning.

    >>> smoothed([1.0, 3.0, 5.0], 2)
    [1.0, 2.0, 4.0]
    """
    parts = (scores[max(0, end - window) : end] for end in range(1, len(scores) + 1))
    return [sum(part) / len(part) for part in parts]
