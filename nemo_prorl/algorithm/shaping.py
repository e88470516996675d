"""What rewards become before advantages are taken: a cut answer, or a long one, can be made to cost something.

Letters: B responses. A shaping changes only what is trained on: whether a group teaches is decided on the verifier's
own rewards, before (else a penalty on length would make a group teach in which every answer is wrong). Shapings come
one after another, in the order written; each gets what the one before it left. Shaped rewards may lie outside [0, 1].
An amount that all responses of a group get changes none of their advantages.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Annotated, NamedTuple, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from nemo_prorl.errors import ShapeError


class Responses(NamedTuple):
    """What a shaping looks at.

    lengths_B  tokens, the end token included, [B]
    limits_B   tokens that a response to its prompt could have, [B]
    cut_B      bool: cut at its limit before it came to an end, [B]
    step       steps that the run has taken before this one
    """

    lengths_B: Tensor
    limits_B: Tensor
    cut_B: Tensor
    step: int


Shaping: TypeAlias = Callable[[Tensor, Responses], Tensor]
"""(rewards_B, responses) -> shaped rewards_B, its knobs bound."""


def termination_penalty(
    rewards_B: Tensor,
    responses: Responses,
    *,
    penalty: Annotated[float, Field(ge=0)] = 0.5,
    factor: Annotated[float, Field(ge=0, le=1)] = 1.0,
) -> Tensor:
    """factor R - penalty for a response that was cut, R for the others, [B]. ProRL, runs 4 and 5 (Appendix E).

    The paper says that it penalises responses that don't terminate properly, neither how nor how much: form and
    defaults are ours. `penalty` also tells a cut wrong answer from one that came to its end; `factor` alone
    (penalty=0, NeMo-RL's stop_properly_penalty_coef) lowers only what was rewarded, and 0 takes it away.
    """
    return torch.where(responses.cut_B, factor * rewards_B - penalty, rewards_B)


def soft_overlong(
    rewards_B: Tensor,
    responses: Responses,
    *,
    buffer_tokens: Annotated[int, Field(ge=1)] = 1024,
    max_penalty: Annotated[float, Field(gt=0)] = 1.0,
) -> Tensor:
    """R - max_penalty times how far a response reaches into the last `buffer_tokens` before its limit, [B]. DAPO.

    Nothing is taken off up to limit - buffer; from there it grows linearly, to max_penalty at the limit.
    """
    into_buffer_B = responses.lengths_B - (responses.limits_B - buffer_tokens)
    return rewards_B - max_penalty * (into_buffer_B.to(rewards_B.dtype) / buffer_tokens).clamp(0, 1)


def cosine_length(
    rewards_B: Tensor,
    responses: Responses,
    *,
    weight: Annotated[float, Field(gt=0)] = 0.1,
    eta_min: float = 0.0,
    eta_max: float = 1.0,
    on_steps: Annotated[int, Field(ge=1)] = 100,
    off_steps: Annotated[int, Field(ge=0)] = 500,
) -> Tensor:
    """R + weight eta(t), [B], eta(t) = eta_min + (eta_max - eta_min) (1 + cos(pi t / T)) / 2. ProRL v2.

    t is a response's length and T its limit, so the shortest get eta_max and those at the limit eta_min. It works for
    `on_steps` steps, then not for `off_steps`, and so on, counted from the run's first step. The public account of
    ProRL v2 names 100 updates on and 500 off, and no weight.
    """
    if responses.step % (on_steps + off_steps) >= on_steps:
        return rewards_B
    share_B = (responses.lengths_B / responses.limits_B).to(rewards_B.dtype).clamp(max=1)
    return rewards_B + weight * (eta_min + (eta_max - eta_min) * (1 + torch.cos(math.pi * share_B)) / 2)


def check_shaped(name: str, shaped_B: Tensor, rewards_B: Tensor) -> Tensor:
    """What shaping `name` gave, for as many responses as it got and finite.

    Raises:
        ShapeError: it isn't.
    """
    if shaped_B.shape != rewards_B.shape or not bool(torch.isfinite(shaped_B).all()):
        raise ShapeError(
            f"shaping {name!r} made rewards of shape {tuple(shaped_B.shape)} out of {tuple(rewards_B.shape)}, or some "
            "that are not finite; it must give one finite reward for each response"
        )
    return shaped_B


SHAPINGS = {
    "termination_penalty": "nemo_prorl.algorithm.shaping:termination_penalty",
    "soft_overlong": "nemo_prorl.algorithm.shaping:soft_overlong",
    "cosine_length": "nemo_prorl.algorithm.shaping:cosine_length",
}
