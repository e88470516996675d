"""Reading prompts: each one once, whatever the number of its samples.

Letters: P tokens of a prompt, N tokens of a pass (of several prompts, one after the other, nothing padded), K key-value
heads, D head size, DP head size rounded up to 16, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from nemo_prorl.rollout.native.decoder import Decoder
from nemo_prorl.rollout.native.kernels import LANES, whole_vectors
from nemo_prorl.weights.architecture import Architecture

TOKENS_A_PASS = 2048  # bounds memory; a longer prompt is a pass of its own


@dataclass
class ReadPrompt:
    """What samples of a prompt go on from: `logits` [V] of their first token, and of every layer keys
    [K, P/16, D, 16] and values [K, P, DP], as kernels.c reads them."""

    length: int
    logits: Tensor
    keys: list[Tensor] = field(default_factory=list)
    values: list[Tensor] = field(default_factory=list)


def read_prompts(decoder: Decoder, turn_PD: Tensor, prompts: Sequence[tuple[int, ...]]) -> list[ReadPrompt]:
    """`turn_PD` are the `rotary_turns` of as many positions as the longest prompt has, at least."""
    read: list[ReadPrompt] = []
    while len(read) < len(prompts):
        part = _first_pass(prompts[len(read) :])
        lengths = [len(ids) for ids in part]
        attention = _WithinPrompts(decoder.of, lengths)
        token_N = torch.tensor([token for ids in part for token in ids])
        x_NH = decoder.read(token_N, torch.cat([turn_PD[:length] for length in lengths]), attention)
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

    def __init__(self, of: Architecture, lengths: Sequence[int]) -> None:
        self._heads, self._head_dim = [of.num_heads, of.num_kv_heads, of.num_kv_heads], of.head_dim
        self.read = [ReadPrompt(length, torch.empty(0)) for length in lengths]

    def __call__(self, _layer: int, qkv: Tensor) -> Tensor:
        heads = qkv.view(len(qkv), -1, self._head_dim).transpose(0, 1)
        seen, start = [], 0
        for prompt in self.read:
            part = heads[:, start : start + prompt.length]
            start += prompt.length
            q, k, v = part.split(self._heads)
            prompt.keys.append(_in_blocks(k))
            prompt.values.append(functional.pad(v, (0, whole_vectors(self._head_dim) - self._head_dim)).contiguous())
            read = functional.scaled_dot_product_attention(
                q[None], k[None], v[None], is_causal=True, scale=1.0, enable_gqa=True
            )
            seen.append(read[0].transpose(0, 1).flatten(1))
        return torch.cat(seen)


def _in_blocks(k_KPD: Tensor) -> Tensor:
    """[K, P, D] -> [K, P/16, D, 16]."""
    padded = functional.pad(k_KPD, (0, 0, 0, whole_vectors(k_KPD.shape[1]) - k_KPD.shape[1]))
    return padded.unflatten(1, (-1, LANES)).transpose(2, 3).contiguous()
