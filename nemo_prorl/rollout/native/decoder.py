"""The forward pass of a decoder: pre-norm layers of grouped-query attention and SwiGLU, over any attention.

Letters: T tokens of the pass (whose they are, attention knows), H hidden size, Q = query heads x D, D head size.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from nemo_prorl.rollout.native.weights import DecoderWeights

# (layer, queries [T, query heads, D], keys and values [T, key heads, D]) -> what each query read, [T, Q].
# Queries carry attention's 1 / sqrt(D) already.
Attention = Callable[[int, Tensor, Tensor, Tensor], Tensor]


class Decoder:
    """A model's arithmetic in float32. All methods are to be called in inference mode."""

    def __init__(self, weights: DecoderWeights) -> None:
        self._weights, self.of = weights, weights.of

    def read(self, token_T: Tensor, rotation_TD: Tensor, attention: Attention) -> Tensor:
        """What the last layer makes of the tokens, [T, H]; `rotation_TD` holds their positions, complex [T, D/2]."""
        of, x_TH = self.of, self._weights.embedding[token_T]
        heads = [of.num_heads, of.num_kv_heads, of.num_kv_heads]
        for number, layer in enumerate(self._weights.layers):
            qkv = functional.linear(self._normed(x_TH), layer.qkv, layer.qkv_bias)
            qk, v = qkv.view(len(x_TH), sum(heads), of.head_dim).tensor_split([-of.num_kv_heads], dim=1)
            if layer.head_norm is not None:
                qk = self._normed(qk) * layer.head_norm
            q, k = _rotated(qk, rotation_TD[:, None]).split(heads[:2], dim=1)
            x_TH.addmm_(attention(number, q, k, v), layer.out.t())
            gate, up = functional.linear(self._normed(x_TH), layer.gate_up).chunk(2, dim=1)
            x_TH.addmm_(functional.silu(gate).mul_(up), layer.down.t())
        return x_TH

    def logits(self, x_BH: Tensor) -> Tensor:
        """Of the tokens that follow, [B, V]."""
        return functional.linear(self._normed(x_BH) * self._weights.final_norm, self._weights.head)

    def rotations(self, positions: int) -> Tensor:
        """As `DecoderWeights.rotations`."""
        return self._weights.rotations(positions)

    def _normed(self, x: Tensor) -> Tensor:
        """x over the root mean square of its last axis. In steps of their own, a third of the time of `rms_norm`."""
        width = x.shape[-1]
        length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
        scale = length.square_().div_(width).add_(self.of.rms_norm_eps).rsqrt_()
        return x * scale


def _rotated(x_TND: Tensor, rotation_T1D: Tensor) -> Tensor:
    turned = torch.view_as_complex(x_TND.unflatten(-1, (-1, 2))) * rotation_T1D
    return torch.view_as_real(turned).flatten(-2)
