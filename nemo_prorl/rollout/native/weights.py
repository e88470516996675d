"""A decoder's weights, laid out so that a forward pass takes four matrix products a layer.

Letters: H hidden size, F size of the MLP, Q = query heads x D, K = key-value heads x D, D head size, V vocabulary.
What can be multiplied into a matrix once in a refit isn't multiplied at every token: the weights of the norms before
it, and attention's 1 / sqrt(D).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from nemo_prorl.rollout.native.kernels import Kernels, pack
from nemo_prorl.rollout.refit import refit
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.rope import attention_factor
from nemo_prorl.weights.rotary_frequencies import rotary_frequencies

HEAD = "lm_head.weight"


class Matrix:
    """x -> x W' + b, with W [out, in] packed: packing it in every product takes a quarter of the product's time."""

    def __init__(self, kernels: Kernels, rows: int, columns: int, *, bias: bool = False) -> None:
        self._kernels, self._shape = kernels, (rows, columns)
        self.bias = torch.empty(rows) if bias else None
        self._weight = torch.empty(0)

    def unpacked(self) -> Tensor:
        """Memory for new weights, [out, in]; the old ones are gone. `pack` comes before the next product."""
        self._weight = torch.empty(0)
        self._weight = torch.empty(self._shape)
        return self._weight

    def pack(self) -> None:
        self._weight = pack(self._weight)

    def __call__(self, x: Tensor) -> Tensor:
        return self._kernels.product(x, self._weight, self._shape[0], self.bias)

    def add(self, x: Tensor, to: Tensor) -> None:
        """`to` += x W' + b."""
        self._kernels.product(x, self._weight, self._shape[0], self.bias, to)


class LayerWeights:
    """One layer: `qkv` [Q + 2K, H], `head_norm` [heads of q and k, D] or None, `out` [H, Q], `gate_up` [2F, H],
    `down` [H, F]."""

    def __init__(self, of: Architecture, kernels: Kernels) -> None:
        hidden, ffn = of.hidden_size, of.ffn_size
        self._of = of
        self.qkv = Matrix(kernels, of.query_size + 2 * of.kv_size, hidden, bias=of.qkv_bias)
        self.head_norm = torch.empty(of.num_heads + of.num_kv_heads, of.head_dim) if of.qk_norm else None
        self.out = Matrix(kernels, hidden, of.query_size)
        self.gate_up, self.down = Matrix(kernels, 2 * ffn, hidden), Matrix(kernels, hidden, ffn)
        self._attention_norm, self._mlp_norm = torch.empty(hidden), torch.empty(hidden)
        self._query_norm, self._key_norm = torch.empty(of.head_dim), torch.empty(of.head_dim)

    def places(self) -> Iterator[tuple[str, Tensor]]:
        """Where each tensor of a refit goes, under its name within the layer. `pack` comes after it."""
        of, ffn = self._of, self._of.ffn_size
        self._qkv, self._gate_up = self.qkv.unpacked(), self.gate_up.unpacked()
        for kind, fused in (("weight", self._qkv), ("bias", self.qkv.bias)):
            if fused is not None:
                for letter, part in zip("qkv", fused.split([of.query_size, of.kv_size, of.kv_size]), strict=True):
                    yield f"self_attn.{letter}_proj.{kind}", part
        if of.qk_norm:
            yield "self_attn.q_norm.weight", self._query_norm
            yield "self_attn.k_norm.weight", self._key_norm
        yield "self_attn.o_proj.weight", self.out.unpacked()
        yield "mlp.gate_proj.weight", self._gate_up[:ffn]
        yield "mlp.up_proj.weight", self._gate_up[ffn:]
        yield "mlp.down_proj.weight", self.down.unpacked()
        yield "input_layernorm.weight", self._attention_norm
        yield "post_attention_layernorm.weight", self._mlp_norm

    def pack(self) -> None:
        """Multiply in what stands before the matrices, and pack them."""
        of, score_scale = self._of, self._of.head_dim**-0.5
        self._qkv *= self._attention_norm
        self._gate_up *= self._mlp_norm
        if self.head_norm is not None:
            self.head_norm[: of.num_heads] = self._query_norm * score_scale
            self.head_norm[of.num_heads :] = self._key_norm
        else:
            self._qkv[: of.query_size] *= score_scale
            if self.qkv.bias is not None:
                self.qkv.bias[: of.query_size] *= score_scale
        del self._qkv, self._gate_up
        for matrix in (self.qkv, self.out, self.gate_up, self.down):
            matrix.pack()


class DecoderWeights:
    """All of a model: `embedding` [V, H], `layers`, `final_norm` [H], `head` [V, H].

    Tied embeddings stand here twice, as rows to look up and as a matrix to multiply with.
    """

    def __init__(self, of: Architecture, kernels: Kernels) -> None:
        self.of = of
        self.embedding = torch.empty(of.vocab_size, of.hidden_size)
        self.layers = [LayerWeights(of, kernels) for _ in range(of.num_layers)]
        self.final_norm = torch.empty(of.hidden_size)
        self.head = Matrix(kernels, of.vocab_size, of.hidden_size)

    @torch.no_grad()
    def load(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        """As `RolloutEngine.load_weights`. With tied embeddings `lm_head.weight` may be left out."""
        tied, head = self.of.tied_embeddings, self.head.unpacked()
        places = {
            "model.embed_tokens.weight": self.embedding,
            "model.norm.weight": self.final_norm,
            HEAD: head,
        }
        for number, layer in enumerate(self.layers):
            places |= {f"model.layers.{number}.{name}": place for name, place in layer.places()}
        refit(places, stream, optional=[HEAD] if tied else [])
        if tied:
            head.copy_(self.embedding)
        del places, head  # so that each matrix is there twice only while it is packed
        self.head.pack()
        for layer in self.layers:
            layer.pack()


def rotary_turns(of: Architecture, positions: int) -> Tensor:
    """Cosines of the D/2 angles of each position, then their sines, [positions, D].

    The angles are taken in float32, as transformers takes them.
    """
    frequency = rotary_frequencies(of.head_dim, of.rope_theta, of.rope_scaling)
    angle = torch.arange(positions, dtype=torch.float32)[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], dim=1) * attention_factor(of.rope_scaling)
