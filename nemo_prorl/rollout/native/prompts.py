"""Reading prompts: each one once, whatever the number of its samples.

Letters: P tokens of a prompt, N tokens of a pass (of several prompts, one after the other, nothing padded), K key-value
heads, D head size, Q = query heads x D, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from nemo_prorl.rollout.native.decoder import Decoder

TOKENS_A_PASS = 2048  # bounds memory; a longer prompt is a pass of its own
Floats = NDArray[np.float32]


@dataclass
class ReadPrompt:
    """What samples of a prompt go on from: `logits` [V] of their first token; keys [K, D, P] and values [K, P, D] of
    every layer, as they are multiplied with."""

    length: int
    logits: Tensor
    keys: list[Floats] = field(default_factory=list)
    values: list[Floats] = field(default_factory=list)


def read_prompts(decoder: Decoder, rotation_PD: Tensor, prompts: Sequence[tuple[int, ...]]) -> list[ReadPrompt]:
    """`rotation_PD` holds the rotary positions from 0 on, as long as the longest prompt at least."""
    read: list[ReadPrompt] = []
    while len(read) < len(prompts):
        part = _first_pass(prompts[len(read) :])
        lengths = [len(ids) for ids in part]
        attention = _WithinPrompts(lengths)
        token_N = torch.tensor([token for ids in part for token in ids])
        rotation_ND = torch.cat([rotation_PD[:length] for length in lengths])
        x_NH = decoder.read(token_N, rotation_ND, attention)
        last = torch.tensor(lengths).cumsum(0) - 1
        for prompt, logits in zip(attention.read, decoder.logits(x_NH[last]), strict=True):
            prompt.logits = logits.clone()  # or one prompt would keep all of them
            read.append(prompt)
    return read


def _first_pass(prompts: Sequence[tuple[int, ...]]) -> Sequence[tuple[int, ...]]:
    """As many as `TOKENS_A_PASS` allows, one at least."""
    tokens = np.cumsum([len(ids) for ids in prompts])
    return prompts[: max(1, int(np.searchsorted(tokens, TOKENS_A_PASS, side="right")))]


class _WithinPrompts:
    """Causal attention of each prompt to itself, which keeps keys and values."""

    def __init__(self, lengths: Sequence[int]) -> None:
        self.read = [ReadPrompt(length, torch.empty(0)) for length in lengths]

    def __call__(self, _layer: int, q_NHD: Tensor, k_NKD: Tensor, v_NKD: Tensor) -> Tensor:
        heads, start = [], 0
        for prompt in self.read:
            part = slice(start, start := start + prompt.length)
            q, k, v = (tensor[part].transpose(0, 1) for tensor in (q_NHD, k_NKD, v_NKD))
            prompt.keys.append(k.transpose(1, 2).contiguous().numpy())
            prompt.values.append(v.contiguous().numpy())
            seen = functional.scaled_dot_product_attention(
                q[None], k[None], v[None], is_causal=True, scale=1.0, enable_gqa=True
            )
            heads.append(seen[0].transpose(0, 1).flatten(1))
        return torch.cat(heads)
