"""The forward pass of a decoder: pre-norm layers of grouped-query attention and SwiGLU, over any attention.

Letters: T tokens of the pass (whose they are, attention knows), H hidden size, Q = query heads x D, K = key-value heads
x D, D head size, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from nemo_prorl.rollout.native.kernels import Kernels
from nemo_prorl.rollout.native.weights import DecoderWeights

# (layer, queries, keys and values side by side [T, Q + 2K]) -> what each query read, [T, Q]. Queries carry attention's
# 1 / sqrt(D) already, queries and keys their positions.
Attention = Callable[[int, Tensor], Tensor]


class Decoder:
    """A model's arithmetic in float32. Its methods are to be called in inference mode."""

    def __init__(self, weights: DecoderWeights, kernels: Kernels) -> None:
        self._weights, self.kernels, self.of = weights, kernels, weights.of

    def read(self, token_T: Tensor, turn_TD: Tensor, attention: Attention) -> Tensor:
        """What the last layer makes of the tokens, [T, H]; `turn_TD` are the `rotary_turns` of their positions."""
        kernels, eps, heads = self.kernels, self.of.rms_norm_eps, self.of.num_heads + self.of.num_kv_heads
        x_TH = self._weights.embedding[token_T]
        for number, layer in enumerate(self._weights.layers):
            qkv = layer.qkv(kernels.rms_norm(x_TH, eps))
            kernels.rotate(qkv, turn_TD, heads, layer.head_norm, eps)
            layer.out.add(attention(number, qkv), to=x_TH)
            gate_up = layer.gate_up(kernels.rms_norm(x_TH, eps))
            layer.down.add(kernels.swiglu(gate_up), to=x_TH)
        return x_TH

    def logits(self, x_BH: Tensor) -> Tensor:
        """Of the tokens that follow, [B, V]."""
        weights = self._weights
        return weights.head(self.kernels.rms_norm(x_BH, self.of.rms_norm_eps, weights.final_norm))
