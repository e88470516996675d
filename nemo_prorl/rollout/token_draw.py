"""From logits and a uniform number to a token, by the inverse of the cumulative distribution.

One number decides one token, so that a completion's randomness is a stream that belongs to it alone, whatever else is
in the batch. Letters: B rows, V vocabulary.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor


def uniform_stream(seed: int, count: int) -> NDArray[np.float32]:
    """The first `count` numbers in [0, 1) of the stream that `seed` names; a longer one begins with the same."""
    return np.random.Generator(np.random.PCG64(seed)).random(count, dtype=np.float32)


def draw_tokens(
    logits_BV: Tensor, uniform_B: Tensor, *, temperature: float, top_k: int = 0, top_p: float = 1.0
) -> tuple[Tensor, Tensor]:
    """A token a row, int64 [B], and its logprob, float32 [B].

    The logprob is that of softmax(logits / temperature) over the whole vocabulary, before `top_k` and `top_p` cut it.
    Temperature 0 takes the likeliest token, the first of equals, and reports the logprob at temperature 1.
    """
    logp_BV = torch.log_softmax(logits_BV.float() / (temperature or 1.0), dim=-1)
    if temperature == 0:
        token_B = logp_BV.argmax(dim=-1)
    else:
        probability_BV = logp_BV.exp()
        if top_k or top_p < 1:
            probability_BV = _cut(probability_BV, top_k, top_p)
        cumulative_BV = probability_BV.cumsum(dim=-1)
        total_B1 = cumulative_BV[:, -1:].contiguous()
        token_B1 = torch.searchsorted(cumulative_BV, uniform_B[:, None] * total_B1, right=True)
        # Rounding can lift number * total to the total itself: the last token with any probability is meant then.
        # (The clamp is for logits that are not numbers: the logprob is none either then, which tells the caller.)
        last_B1 = torch.searchsorted(cumulative_BV, total_B1).clamp(max=logits_BV.shape[1] - 1)
        token_B = torch.minimum(token_B1, last_B1)[:, 0]
    return token_B, logp_BV.gather(1, token_B[:, None])[:, 0]


def _cut(probability_BV: Tensor, top_k: int, top_p: float) -> Tensor:
    """Only the `top_k` likeliest tokens keep their probability, of these the fewest that reach `top_p` of their sum."""
    sorted_BV, order_BV = probability_BV.sort(dim=-1, descending=True, stable=True)
    if top_k:
        sorted_BV[:, top_k:] = 0
    cumulative_BV = sorted_BV.cumsum(dim=-1)
    before_BV = cumulative_BV - sorted_BV
    sorted_BV[before_BV >= top_p * cumulative_BV[:, -1:]] = 0
    return torch.zeros_like(probability_BV).scatter_(1, order_BV, sorted_BV)
