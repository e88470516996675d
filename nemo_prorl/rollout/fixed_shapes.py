"""Decoding at a few shapes and fixed addresses, so that a GPU replays a step instead of being told it kernel by kernel.

A decoder's step at one token a row is hundreds of small kernels: launched one by one they take several times as long as
the memory traffic that bounds them. A CUDA graph launches them at once, if they always read and write the same memory
in the same shapes. So rows and columns are rounded up to a few sizes; what lies beyond is computed and never looked at.

Letters: B rows under generation, R rows of the shape, L columns in use, C columns of the shape, V vocabulary.
"""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import torch
from torch import Tensor

from nemo_prorl.rollout.decoding import Forward
from nemo_prorl.rollout.kv_cache import KeyValueCache

log = logging.getLogger(__name__)

FEWEST_ROWS, FEWEST_COLUMNS = 8, 512


def rounded_up(count: int, fewest: int) -> int:
    """The smallest of fewest, 2 fewest, 4 fewest, ... that holds `count`.

    >>> [rounded_up(count, 8) for count in (1, 8, 9, 33)]
    [8, 8, 16, 64]
    """
    size = fewest
    while size < count:
        size *= 2
    return size


class FixedCache(KeyValueCache):
    """A cache that stays where it is: a step writes to the column that `column` says and reads the first C of R rows.

    It lives through many batches; `begin` starts one. `moves` counts how often its memory has become other memory.
    """

    def __init__(self) -> None:
        super().__init__(0, 0, 0)
        self.moves = 0
        self._row_capacity = 0
        self._shape = (0, 0)
        self._column = torch.empty(0)

    def begin(self, rows: int, columns: int, most_columns: int) -> FixedCache:
        """Room for a batch: as it is where that is enough, else more."""
        wanted_rows, wanted_columns = rounded_up(rows, FEWEST_ROWS), rounded_up(columns + 1, FEWEST_COLUMNS)
        if wanted_rows > self._row_capacity or wanted_columns > self._capacity:
            self._row_capacity = max(wanted_rows, self._row_capacity)
            self._capacity = max(wanted_columns, self._capacity)
            self._keys, self._values = {}, {}
            self.moves += 1
        self.rows, self.length, self._most = rows, columns, rounded_up(most_columns, FEWEST_COLUMNS)
        return self

    def fix(self, rows: int, columns: int, column: Tensor) -> None:
        """The next passes have R rows, see C columns, and add the one that stands in `column`, int64 [1]."""
        self._shape, self._column = (rows, columns), column

    @property
    def is_reading(self) -> bool:
        return self._reading is not None

    def update(
        self, keys_BHSD: Tensor, values_BHSD: Tensor, layer_idx: int, *arguments: Any, **named: Any
    ) -> tuple[Tensor, Tensor]:
        if self.is_reading:
            return super().update(keys_BHSD, values_BHSD, layer_idx, *arguments, **named)
        rows, columns = self._shape
        keys, values = self._keys[layer_idx][:rows], self._values[layer_idx][:rows]
        keys.index_copy_(2, self._column, keys_BHSD)
        values.index_copy_(2, self._column, values_BHSD)
        return keys[:, :, :columns], values[:, :, :columns]

    def _room_like(self, new: Tensor) -> Tensor:
        # Zeros: what no row has written yet is masked, and 0 times what memory happens to hold could be not a number.
        return new.new_zeros(self._row_capacity, new.shape[1], self._capacity, new.shape[3])

    def _wider(self, old: Tensor) -> Tensor:
        wider = self._room_like(old)
        wider[:, :, : old.shape[2]] = old
        return wider

    def extend(self) -> None:
        before = self._capacity
        super().extend()
        self.moves += self._capacity != before


class _Inputs(NamedTuple):
    """Where a shape's step reads from, [R, 1], [R, 1], [R, 1, 1, C] and [1]."""

    tokens: Tensor
    positions: Tensor
    mask: Tensor
    column: Tensor


class _Step(NamedTuple):
    """What replays a shape's step, and where its logits then stand, [R, V]."""

    graph: Any
    logits_RV: Tensor


class FixedShapes:
    """A model's forward pass at fixed shapes; with `graphs`, replayed. What it holds goes by `release`."""

    def __init__(self, forward: Forward, *, graphs: bool) -> None:
        self._forward, self._graphs = forward, graphs
        self._cache = FixedCache()
        self._inputs: dict[tuple[int, int], _Inputs] = {}
        self._steps: dict[tuple[int, int], _Step] = {}
        self._moves_seen = 0
        self._pool: Any = None

    @property
    def captured(self) -> int:
        """Graphs that there are now."""
        return len(self._steps)

    def cache(self, rows: int, columns: int, most_columns: int) -> FixedCache:
        """For a batch of so many rows and prompt columns; only the last one given may be used."""
        return self._cache.begin(rows, columns, most_columns)

    def release(self) -> None:
        """Graphs and caches go; the next batch makes them anew."""
        self._cache = FixedCache()
        self._inputs, self._steps, self._moves_seen, self._pool = {}, {}, 0, None

    def __call__(self, tokens_BS: Tensor, position_BS: Tensor, mask: Tensor, cache: KeyValueCache) -> Tensor:
        """Logits after the last column, [B, V]; good until the next call."""
        assert isinstance(cache, FixedCache)
        if cache.is_reading:
            return self._forward(tokens_BS, position_BS, mask, cache)
        B, L = len(tokens_BS), cache.length
        shape = rounded_up(B, FEWEST_ROWS), rounded_up(L, FEWEST_COLUMNS)
        inputs = self._filled(shape, tokens_BS, position_BS, mask, L)
        cache.fix(*shape, inputs.column)
        if not self._graphs:
            return self._run(inputs, cache)[:B]
        if cache.moves != self._moves_seen:  # what graphs have written down are addresses
            self._steps, self._pool, self._moves_seen = {}, None, cache.moves
        if shape not in self._steps:
            try:
                self._steps[shape] = self._capture(inputs, cache)
            except RuntimeError as error:
                log.warning(
                    "this model's steps can't be replayed as CUDA graphs, and take several times longer: %s", error
                )
                self._graphs, self._steps, self._pool = False, {}, None
                return self._run(inputs, cache)[:B]
        step = self._steps[shape]
        step.graph.replay()
        return step.logits_RV[:B]

    def _filled(
        self, shape: tuple[int, int], tokens_B1: Tensor, position_B1: Tensor, mask: Tensor, length: int
    ) -> _Inputs:
        rows, columns = shape
        if shape not in self._inputs:
            self._inputs[shape] = _Inputs(
                tokens_B1.new_zeros(rows, 1),
                position_B1.new_zeros(rows, 1),
                mask.new_empty(rows, 1, 1, columns),
                tokens_B1.new_zeros(1),
            )
        inputs = self._inputs[shape]
        inputs.tokens[: len(tokens_B1)] = tokens_B1
        inputs.positions[: len(tokens_B1)] = position_B1
        inputs.mask.fill_(torch.finfo(mask.dtype).min)
        inputs.mask[: len(tokens_B1), :, :, :length] = mask
        inputs.column.fill_(length - 1)
        return inputs

    def _run(self, inputs: _Inputs, cache: FixedCache) -> Tensor:
        return self._forward(inputs.tokens, inputs.positions, inputs.mask, cache)

    def _capture(self, inputs: _Inputs, cache: FixedCache) -> _Step:
        """A step writes the same to the same place however often it is run, so that it can be run to warm up."""
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(2):
                self._run(inputs, cache)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool):
            logits_RV = self._run(inputs, cache)
        self._pool = self._pool or graph.pool()
        return _Step(graph, logits_RV)
