"""Attention of one decoding step: every row to its prompt and to its response so far.

Letters: B rows, K key-value heads, R = B x query heads a key head, D head size, P tokens of the longest prompt, C
columns that there is room for, W columns that the step attends to.

All rows write a step's key into the same column of the cache, whenever they began; what lies in a row's columns before
it began is masked. So a step is a few products for the whole batch: queries of all samples of a prompt with its keys,
which exist once, and of every row with its own. These are too small for torch: numpy starts them at a third of the
cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nemo_prorl.rollout.native.prompts import Floats, ReadPrompt
from nemo_prorl.weights.architecture import Architecture

FIRST_COLUMNS = 128  # room for so many response tokens at first
STRIDE = 16  # scores are laid out anew whenever a response has grown by so many tokens


@dataclass
class Group:
    """Rows of one prompt, which stand side by side."""

    prompt: ReadPrompt
    rows: int


class _Shared(NamedTuple):
    """Where a step meets a prompt: views of the queries, scores, weights and results of its rows."""

    prompt: ReadPrompt
    queries: Floats
    scores: Floats
    weights: Floats
    results: Floats


class ResponseCache:
    """Keys [K, B, D, C] and values [K, B, C, D] of responses, layer by layer; as an `Attention`, it is one step's.

    `most_columns` is the longest response. Rows come at the end (`admit`), before a step (`begin_step`), and leave
    together (`keep`).
    """

    def __init__(self, of: Architecture, most_rows: int, most_columns: int) -> None:
        self._of, self._most_rows = of, most_rows
        self._per_key_head = of.num_heads // of.num_kv_heads
        # A quarter more than the longest response, so that moving columns to the front pays whenever it is due.
        self._most_columns = most_columns + most_columns // 4 + 1
        self._groups: list[Group] = []
        self._start_B: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._first, self._next, self._columns = 0, 0, 0
        self._keys: list[Floats] = []
        self._values: list[Floats] = []
        self._laid_out = 0  # the columns of responses that scores are laid out for; 0: rows have changed

    @property
    def rows(self) -> int:
        return len(self._start_B)

    def admit(self, prompt: ReadPrompt) -> None:
        """A new row of `prompt`, after all others."""
        if not self.rows:
            self._next = 0
        if self._groups and self._groups[-1].prompt is prompt:
            self._groups[-1].rows += 1
        else:
            self._groups.append(Group(prompt, 1))
        self._start_B = np.append(self._start_B, self._next)
        self._laid_out = 0

    def keep(self, kept_B: NDArray[np.bool_]) -> None:
        """Only these rows go on; their order stays."""
        ends = np.cumsum([group.rows for group in self._groups])
        for group, end in zip(self._groups, ends, strict=True):
            group.rows = int(kept_B[end - group.rows : end].sum())
        self._groups = [group for group in self._groups if group.rows]
        rows, self._start_B = np.flatnonzero(kept_B), self._start_B[kept_B]
        used = slice(self._first, self._next)
        for keys, values in zip(self._keys, self._values, strict=True):
            keys[:, : len(rows), :, used] = keys[:, rows, :, used]
            values[:, : len(rows), used] = values[:, rows, used]
        self._laid_out = 0

    def begin_step(self) -> None:
        """The pass that follows adds a column."""
        first = int(self._start_B.min())
        if first != self._first:
            self._first, self._laid_out = first, 0
        if self._next == self._columns:
            self._make_room()
        self._next += 1
        if self._next - self._first > self._laid_out:
            self._lay_out()

    def __call__(self, layer: int, q_BHD: Tensor, k_BKD: Tensor, v_BKD: Tensor) -> Tensor:
        """As `decoder.Attention`, with a token of every row."""
        rows, newest = self.rows, self._next - 1
        keys, values = self._keys[layer][:, :rows], self._values[layer][:, :rows]
        keys[..., newest] = k_BKD.numpy().transpose(1, 0, 2)
        values[:, :, newest] = v_BKD.numpy().transpose(1, 0, 2)
        self._queries[:] = q_BHD.numpy().reshape(rows, -1, self._per_key_head, self._of.head_dim).transpose(1, 0, 2, 3)
        seen = slice(self._first, self._next)
        width = self._next - self._first
        for shared in self._shared:
            np.matmul(shared.queries, shared.prompt.keys[layer], out=shared.scores)
        own_scores = self._own_scores[..., :width]
        np.matmul(self._queries, keys[..., seen], out=own_scores)
        if self._mask is not None:
            own_scores += self._mask[..., :width]
        torch.softmax(self._scores, dim=-1, out=self._weights)
        for shared in self._shared:
            np.matmul(shared.weights, shared.prompt.values[layer], out=shared.results)
        read = torch.empty(rows, self._of.query_size)
        own = np.matmul(self._own_weights[..., :width], values[:, :, seen])
        np.add(own, self._from_prompts, out=read.numpy().reshape(rows, *own.shape[::2], -1).transpose(1, 0, 2, 3))
        return read

    def _make_room(self) -> None:
        """Move what is still seen to the front if that frees an eighth of the columns; else double them."""
        first = self._first
        if first > self._columns // 8:
            for store in (*self._keys, *(values.swapaxes(2, 3) for values in self._values)):
                store[..., : self._next - first] = store[..., first : self._next].copy()
            self._start_B -= first
            self._first, self._next = 0, self._next - first
            return
        columns = min(max(2 * self._columns, FIRST_COLUMNS), self._most_columns)
        heads, size = self._of.num_kv_heads, self._of.head_dim
        keys = [_floats(heads, self._most_rows, size, columns) for _ in range(self._of.num_layers)]
        values = [_floats(heads, self._most_rows, columns, size) for _ in range(self._of.num_layers)]
        for old, new in zip(self._keys, keys, strict=False):
            new[..., : self._next] = old[..., : self._next]
        for old, new in zip(self._values, values, strict=False):
            new[:, :, : self._next] = old[:, :, : self._next]
        self._keys, self._values, self._columns = keys, values, columns

    def _lay_out(self) -> None:
        """Room for the scores of some steps: a row's prompt ends where its response begins, before it is -inf."""
        width = -(-(self._next - self._first) // STRIDE) * STRIDE
        heads, per_head, size, rows = self._of.num_kv_heads, self._per_key_head, self._of.head_dim, self.rows
        longest = max(group.prompt.length for group in self._groups)
        self._scores = torch.full((heads, rows * per_head, longest + width), -torch.inf)
        self._weights = torch.empty_like(self._scores)
        scores, weights = self._scores.numpy(), self._weights.numpy()
        own = (heads, rows, per_head, longest + width)
        self._own_scores, self._own_weights = (of.reshape(own)[..., longest:] for of in (scores, weights))
        self._queries, self._from_prompts = (_floats(heads, rows, per_head, size) for _ in range(2))
        queries, results = (of.reshape(heads, -1, size) for of in (self._queries, self._from_prompts))
        self._shared, start = [], 0
        for group in self._groups:
            part = slice(start, start := start + group.rows * per_head)
            columns = slice(longest - group.prompt.length, longest)
            self._shared.append(
                _Shared(
                    group.prompt, queries[:, part], scores[:, part, columns], weights[:, part, columns], results[:, part]
                )
            )
        began_B = self._start_B - self._first
        before_BW = np.arange(width) < began_B[:, None]
        self._mask = np.where(before_BW, -np.inf, 0.0).astype(np.float32)[:, None] if began_B.any() else None
        self._laid_out = width


def _floats(*shape: int) -> Floats:
    """Numbers that mean nothing yet; aligned as torch aligns, which some kernels of BLAS are faster with."""
    array: Floats = torch.empty(shape).numpy()
    return array
