"""A decoder's weights, laid out so that a forward pass takes four matrix products a layer and few other operations.

Letters: H hidden size, F size of the MLP, Q = query heads x D, K = key-value heads x D, D head size, V vocabulary.
What can be multiplied into a matrix once in a refit isn't multiplied at every token: the weights of the norms before
it, and attention's 1 / sqrt(D). Within each head of q and k, number i and number i + D/2, which rotary positions turn
together, stand side by side: one complex product turns them, and no score changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from nemo_prorl.rollout.refit import Place, refit
from nemo_prorl.weights.architecture import Architecture

HEAD = "lm_head.weight"


class LayerWeights:
    """One layer: `qkv` [Q + 2K, H], `qkv_bias` [Q + 2K] or None, `head_norm` [heads of q and k, D] or None,
    `out` [H, Q], `gate_up` [2F, H], `down` [H, F]."""

    def __init__(self, of: Architecture) -> None:
        hidden, ffn, rows = of.hidden_size, of.ffn_size, of.query_size + 2 * of.kv_size
        self._of = of
        self.qkv = torch.empty(rows, hidden)
        self.qkv_bias = torch.empty(rows) if of.qkv_bias else None
        self.head_norm = torch.empty(of.num_heads + of.num_kv_heads, of.head_dim) if of.qk_norm else None
        self.out = torch.empty(hidden, of.query_size)
        self.gate_up = torch.empty(2 * ffn, hidden)
        self.down = torch.empty(hidden, ffn)
        self._attention_norm, self._mlp_norm = torch.empty(hidden), torch.empty(hidden)
        self._query_norm, self._key_norm = torch.empty(of.head_dim), torch.empty(of.head_dim)

    def places(self) -> Iterator[tuple[str, Place]]:
        """Each tensor of the layer under its name within it."""
        of, ffn = self._of, self._of.ffn_size
        for kind, fused in (("weight", self.qkv), ("bias", self.qkv_bias)):
            if fused is not None:
                q, k, v = fused.split([of.query_size, of.kv_size, of.kv_size])
                yield f"self_attn.q_proj.{kind}", self._turned(q)
                yield f"self_attn.k_proj.{kind}", self._turned(k)
                yield f"self_attn.v_proj.{kind}", _as_it_is(v)
        if of.qk_norm:
            yield "self_attn.q_norm.weight", self._turned(self._query_norm)
            yield "self_attn.k_norm.weight", self._turned(self._key_norm)
        yield "self_attn.o_proj.weight", _as_it_is(self.out)
        yield "mlp.gate_proj.weight", _as_it_is(self.gate_up[:ffn])
        yield "mlp.up_proj.weight", _as_it_is(self.gate_up[ffn:])
        yield "mlp.down_proj.weight", _as_it_is(self.down)
        yield "input_layernorm.weight", _as_it_is(self._attention_norm)
        yield "post_attention_layernorm.weight", _as_it_is(self._mlp_norm)

    def fold(self) -> None:
        """Multiply in what stands before the matrices. Once after each refit, which brings all of them anew."""
        of, score_scale = self._of, self._of.head_dim**-0.5
        self.qkv *= self._attention_norm
        self.gate_up *= self._mlp_norm
        if self.head_norm is not None:
            self.head_norm[: of.num_heads] = self._query_norm * score_scale
            self.head_norm[of.num_heads :] = self._key_norm
            return
        self.qkv[: of.query_size] *= score_scale
        if self.qkv_bias is not None:
            self.qkv_bias[: of.query_size] *= score_scale

    def _turned(self, rows: Tensor) -> Place:
        """Rows of q or k heads, whose halves come one after the other and are kept pairwise."""
        pairs = rows.unflatten(0, (-1, self._of.head_dim // 2, 2))
        return Place(pairs.transpose(1, 2), tuple(rows.shape))


class DecoderWeights:
    """All of a model: `embedding` [V, H], `layers`, `final_norm` [H], `head` [V, H] (the embedding itself if tied)."""

    def __init__(self, of: Architecture) -> None:
        self.of = of
        self.embedding = torch.empty(of.vocab_size, of.hidden_size)
        self.layers = [LayerWeights(of) for _ in range(of.num_layers)]
        self.final_norm = torch.empty(of.hidden_size)
        self.head = self.embedding if of.tied_embeddings else torch.empty(of.vocab_size, of.hidden_size)

    def load(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        """As `RolloutEngine.load_weights`. With tied embeddings `lm_head.weight` may be left out."""
        places = {
            "model.embed_tokens.weight": _as_it_is(self.embedding),
            "model.norm.weight": _as_it_is(self.final_norm),
            HEAD: _as_it_is(self.head),
        }
        for number, layer in enumerate(self.layers):
            places |= {f"model.layers.{number}.{name}": place for name, place in layer.places()}
        refit(places, stream, optional=[HEAD] if self.of.tied_embeddings else [])
        for layer in self.layers:
            layer.fold()

    def rotations(self, positions: int) -> Tensor:
        """Rotary positions as complex numbers of length 1, complex64 [positions, D/2].

        The angles are taken in float32, as transformers takes them.
        """
        of = self.of
        frequency = 1.0 / of.rope_theta ** (torch.arange(0, of.head_dim, 2, dtype=torch.float32) / of.head_dim)
        if of.rope_scaling is not None:
            frequency = _stretched(frequency, **of.rope_scaling)
        angle = torch.arange(positions, dtype=torch.float32)[:, None] * frequency
        return torch.polar(torch.ones_like(angle), angle)


def _as_it_is(target: Tensor) -> Place:
    return Place(target, tuple(target.shape))


def _stretched(
    frequency: Tensor,
    factor: float,
    low_freq_factor: float,
    high_freq_factor: float,
    original_max_position_embeddings: float,
) -> Tensor:
    """Llama 3's long context: long waves become `factor` times longer, short ones stay, those between are blended."""
    turns = original_max_position_embeddings * frequency / (2 * math.pi)
    kept = ((turns - low_freq_factor) / (high_freq_factor - low_freq_factor)).clamp(0, 1)
    return frequency * (kept + (1 - kept) / factor)
