"""What came of a prompt: completions, their verdicts, and the group they form."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.repetition import Loop, ending_loop, repetition
from nemo_prorl.errors import ShapeError

FinishReason = Literal["stop", "length", "abort"]
Outcome = Literal["scored", "no_answer", "timeout", "error"]
OUTCOMES: tuple[str, ...] = get_args(Outcome)


@dataclass(frozen=True)
class Completion:
    """One sampled answer. `stop` means that its last token is an end token; `length` that it was cut.

    `token_ids` is int32 [T] and keeps the end token; `logprobs` is the sampler's float32 [T], or None when the sampler
    doesn't know them; `text` is the decoded answer without special tokens.
    """

    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32] | None
    finish_reason: FinishReason
    text: str

    def __post_init__(self) -> None:
        if self.token_ids.ndim != 1 or self.token_ids.dtype != np.int32:
            found = f"{self.token_ids.dtype} {self.token_ids.shape}"
            raise ShapeError(f"Completion.token_ids is {found}, expected int32 [T]")
        if len(self.token_ids) == 0:
            raise ShapeError("Completion.token_ids is empty; an engine must give at least one token")
        if self.logprobs is not None and self.logprobs.shape != self.token_ids.shape:
            raise ShapeError(f"Completion.logprobs is {self.logprobs.shape}, token_ids {self.token_ids.shape}")

    @property
    def length(self) -> int:
        """In tokens, the end token included."""
        return len(self.token_ids)

    @cached_property
    def repetition(self) -> float:
        """What part of its 3-grams of tokens was there before, in [0, 1); computed when it is first asked for."""
        return repetition(self.token_ids)

    @cached_property
    def ending_loop(self) -> Loop:
        """(period, repeats) of what it ends in again and again; computed when it is first asked for."""
        return ending_loop(self.token_ids)


@dataclass(frozen=True)
class Verdict:
    """A reward in [0, 1] and why. `scored` and `no_answer` speak of the text; the others of the verifier itself."""

    reward: float
    reason: str = ""
    outcome: Outcome = "scored"
    seconds: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.reward <= 1.0:  # also refuses NaN
            raise ShapeError(f"Verdict.reward is {self.reward}, expected a number in [0, 1] ({self.reason})")
        if self.outcome not in OUTCOMES:
            raise ShapeError(f"Verdict.outcome is {self.outcome!r}, expected one of {OUTCOMES}")


@dataclass(frozen=True)
class Group:
    """A prompt, its n completions and their verdicts; worth training on only if rewards differ (dynamic sampling).

    `shaped_rewards` are what advantages are computed from; they equal the verifier's rewards unless a shaping rule
    changed them. Whether a group teaches is always decided on the verifier's own rewards. `steps_waited` since it was
    sampled counts for groups that may be carried from one step to a later one; None: these can't be.
    """

    prompt: Prompt
    completions: tuple[Completion, ...]
    verdicts: tuple[Verdict, ...]
    shaped_rewards: tuple[float, ...] = field(default=())
    steps_waited: int | None = None

    def __post_init__(self) -> None:
        if not self.completions or len(self.completions) != len(self.verdicts):
            raise ShapeError(
                f"Group {self.prompt.uid!r} has {len(self.completions)} completions and {len(self.verdicts)} verdicts"
            )
        if not self.shaped_rewards:
            object.__setattr__(self, "shaped_rewards", self.rewards)
        if len(self.shaped_rewards) != len(self.verdicts):
            shaped, scored = len(self.shaped_rewards), len(self.verdicts)
            raise ShapeError(f"Group {self.prompt.uid!r}: {shaped} shaped rewards for {scored} verdicts")

    @property
    def rewards(self) -> tuple[float, ...]:
        """The verifier's rewards, one a completion."""
        return tuple(verdict.reward for verdict in self.verdicts)

    @property
    def lengths(self) -> tuple[int, ...]:
        """In tokens, one a completion. With `finish_reasons` and `repetitions` it is what a shaping rule looks at."""
        return tuple(completion.length for completion in self.completions)

    @property
    def finish_reasons(self) -> tuple[FinishReason, ...]:
        """`length` for a completion that was cut."""
        return tuple(completion.finish_reason for completion in self.completions)

    @property
    def repetitions(self) -> tuple[float, ...]:
        """The parts of their 3-grams that were there before, one a completion."""
        return tuple(completion.repetition for completion in self.completions)

    @property
    def teaches(self) -> bool:
        """False when all rewards are equal: then every advantage is 0 (max - min, since a standard deviation leaks)."""
        return max(self.rewards) > min(self.rewards)
