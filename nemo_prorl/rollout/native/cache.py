"""Keys and values of responses, and attention of a decoding step over them and over the prompts.

Letters: R rows that there is room for, K key-value heads, D head size, DP head size rounded up to 16, C tokens that a
row has room for, a multiple of 16.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nemo_prorl.rollout.native.kernels import LANES, Kernels, Step, whole_vectors
from nemo_prorl.rollout.native.prompts import ReadPrompt
from nemo_prorl.weights.architecture import Architecture

FIRST_COLUMNS = 128  # room for so many tokens of each response at first; then it doubles
QUERIES_AT_ONCE = 4  # of kernels.c


class ResponseCache:
    """Keys [R, K, C/16, D, 16] and values [R, K, C, DP], layer by layer; as an `Attention`, it is one step's.

    A row belongs to whoever `admit` gave it to last. Prompts stand outside, once for all rows that go on from them.
    """

    def __init__(self, of: Architecture, kernels: Kernels, rows: int, most_tokens: int) -> None:
        self._of, self._kernels, self._most_tokens = of, kernels, most_tokens
        self._padded_dim = whole_vectors(of.head_dim)
        self._length_R = np.zeros(rows, dtype=np.int64)
        self._prompt_length_R = np.zeros(rows, dtype=np.int64)
        self._prompts: list[ReadPrompt | None] = [None] * rows
        self._prompt_keys = np.zeros((of.num_layers, rows), dtype=np.intp)  # addresses
        self._prompt_values = np.zeros((of.num_layers, rows), dtype=np.intp)
        self._columns = 0
        self._keys, self._values = torch.empty(0), torch.empty(0)
        self._sums = torch.empty(QUERIES_AT_ONCE, self._padded_dim)
        self._scores = torch.empty(0)

    def admit(self, row: int, prompt: ReadPrompt) -> None:
        """From the next step on, `row` is a response to `prompt` that has no tokens yet."""
        self._length_R[row], self._prompt_length_R[row], self._prompts[row] = 0, prompt.length, prompt
        self._prompt_keys[:, row] = [keys.data_ptr() for keys in prompt.keys]
        self._prompt_values[:, row] = [values.data_ptr() for values in prompt.values]

    def release(self, row: int) -> None:
        """Its prompt isn't needed any more, unless by another row."""
        self._prompts[row] = None

    def begin_step(self, row_B: NDArray[np.int64]) -> None:
        """The pass that follows reads one token for each of these rows, in this order."""
        self._length_R[row_B] += 1
        longest = int(self._length_R[row_B].max())
        if longest > self._columns:
            self._make_room()
        width = whole_vectors(int(self._prompt_length_R[row_B].max())) + whole_vectors(longest)
        if self._scores.shape[0] < QUERIES_AT_ONCE * width:
            self._scores = torch.empty(QUERIES_AT_ONCE * (width + FIRST_COLUMNS))
        self._row_B = row_B
        of, addresses = self._of, (row_B, self._length_R, self._prompt_length_R)
        self._step = Step(
            *(len(row_B), of.num_kv_heads, of.num_heads // of.num_kv_heads, of.head_dim, self._padded_dim),
            *(self._columns, *(array.ctypes.data for array in addresses)),
            *(self._scores.data_ptr(), self._sums.data_ptr()),
        )

    def __call__(self, layer: int, qkv: Tensor) -> Tensor:
        """As `decoder.Attention`, of the step that has begun."""
        return self._kernels.attend(
            self._step,
            qkv,
            self._keys[layer],
            self._values[layer],
            self._prompt_keys[layer].ctypes.data,
            self._prompt_values[layer].ctypes.data,
        )

    def _make_room(self) -> None:
        of, columns = self._of, min(max(2 * self._columns, FIRST_COLUMNS), whole_vectors(self._most_tokens))
        shape = (of.num_layers, len(self._length_R), of.num_kv_heads)
        keys = _floats(*shape, columns // LANES, of.head_dim, LANES)
        values = _floats(*shape, columns, self._padded_dim)
        if self._columns:
            keys[:, :, :, : self._columns // LANES] = self._keys
            values[:, :, :, : self._columns] = self._values
        self._keys, self._values, self._columns = keys, values, columns


def _floats(*shape: int) -> Tensor:
    """Memory that means nothing yet. numpy's, since it asks the system for huge pages, which torch doesn't: with small
    ones, finding the memory takes as long as reading it."""
    return torch.from_numpy(np.empty(shape, dtype=np.float32))
