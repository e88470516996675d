"""Losses of single tokens from what the policy says now, what it said when it sampled, and the advantage.

Letters: B responses, T predicted tokens. No mask, no mean, no KL in here. An objective is elementwise; its
keyword-only arguments are its knobs.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Annotated, NamedTuple, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from nemo_prorl.algorithm.ratio import probability_ratio

Objective: TypeAlias = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(logp_BT, old_logp_BT, advantage_BT) -> loss_BT, its knobs bound."""


def clip_higher(
    logp_BT: Tensor,
    old_logp_BT: Tensor,
    advantage_BT: Tensor,
    *,
    clip_low: Annotated[float, Field(gt=0, le=1)] = 0.2,
    clip_high: Annotated[float, Field(gt=0)] = 0.4,
    dual_clip: Annotated[float, Field(gt=1)] | None = None,
) -> Tensor:
    """Per-token clipped surrogate, to be minimised, [B, T]. ProRL Eq. 1 with the decoupled bounds of Eq. 3.

    -min(r A, clip(r, 1 - clip_low, 1 + clip_high) A) with r = exp(logp - old). The upper bound bites only for A > 0,
    the lower only for A < 0: a token that has already moved far enough in the wanted direction gets no gradient.
    For A < 0 a growing r is bounded by `dual_clip` alone: with c the loss is at most -c A (off by default).
    """
    ratio_BT = probability_ratio(logp_BT - old_logp_BT)
    bounded_BT = ratio_BT.clamp(1 - clip_low, 1 + clip_high)
    loss_BT = -torch.minimum(ratio_BT * advantage_BT, bounded_BT * advantage_BT)
    if dual_clip is None:
        return loss_BT
    return torch.where(advantage_BT < 0, torch.minimum(loss_BT, -dual_clip * advantage_BT), loss_BT)


def grpo(
    logp_BT: Tensor, old_logp_BT: Tensor, advantage_BT: Tensor, *, clip: Annotated[float, Field(gt=0, le=1)] = 0.2
) -> Tensor:
    """The symmetric clip of GRPO (Eq. 1): `clip_higher` with equal bounds."""
    return clip_higher(logp_BT, old_logp_BT, advantage_BT, clip_low=clip, clip_high=clip)


class ClipBounds(NamedTuple):
    """Ratios below `low` or above `high` are out of bounds; `dual` is the second bound of falling tokens, or None."""

    low: float
    high: float
    dual: float | None


def clip_bounds(objective: Objective) -> ClipBounds | None:
    """The bounds an objective was configured with, for the diagnostics; None when it has none.

    Read from its knobs: `clip_low` and `clip_high`, or `clip` for both, and `dual_clip`. An objective of your own
    that calls its bounds so gets the same diagnostics.
    """
    parameters = inspect.signature(objective).parameters
    knobs = {name: parameter.default for name, parameter in parameters.items()}
    low, high = (knobs.get(name, knobs.get("clip")) for name in ("clip_low", "clip_high"))
    if not isinstance(low, int | float) or not isinstance(high, int | float):
        return None
    return ClipBounds(1 - low, 1 + high, knobs.get("dual_clip"))


OBJECTIVES = {
    "clip_higher": "nemo_prorl.algorithm.objective:clip_higher",  # the default
    "grpo": "nemo_prorl.algorithm.objective:grpo",
}
