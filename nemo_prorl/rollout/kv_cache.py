"""Keys and values of a batch under generation, in memory that grows by doubling instead of at every token."""

from __future__ import annotations

from typing import Any

from torch import Tensor

FIRST_RESERVE = 64  # response tokens that room is made for at first


class KeyValueCache:
    """What a Hugging Face model calls `update` on, once a layer in each forward pass.

    Letters: B rows still under generation, H key-value heads, L columns in use, D head size. Prompts are read once and
    stored for each of their samples (`reading`); after that every pass adds one column. Rows that are finished leave
    by being overwritten with rows from the end (`move`), so that leaving costs no copy of those that stay.
    """

    def __init__(self, rows: int, columns: int, most_columns: int) -> None:
        self.rows, self.length = rows, columns
        self._most = most_columns
        self._capacity = min(columns + FIRST_RESERVE, most_columns)
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        self._reading: tuple[slice, Tensor] | None = None

    def reading(self, rows: slice, prompt_of_row: Tensor) -> None:
        """The next pass reads prompts; row i of `rows` belongs to the pass's prompt `prompt_of_row[i]`."""
        self._reading = (rows, prompt_of_row)

    def extend(self) -> None:
        """The next pass adds one column."""
        self._reading = None
        self.length += 1
        if self.length > self._capacity:
            self._capacity = min(2 * self._capacity, self._most)
            for store in (self._keys, self._values):
                for layer, old in store.items():
                    store[layer] = self._wider(old)

    def update(
        self, keys_BHSD: Tensor, values_BHSD: Tensor, layer_idx: int, *_: Any, **__: Any
    ) -> tuple[Tensor, Tensor]:
        """Store what a layer has just computed; returns the keys and values that it attends to."""
        if self._reading is not None:
            rows, prompt_of_row = self._reading
            for store, new in ((self._keys, keys_BHSD), (self._values, values_BHSD)):
                if layer_idx not in store:
                    store[layer_idx] = self._room_like(new)
                store[layer_idx][rows, :, : new.shape[2]] = new[prompt_of_row]
            return keys_BHSD, values_BHSD
        keys, values = self._keys[layer_idx], self._values[layer_idx]
        keys[: self.rows, :, self.length - 1] = keys_BHSD[:, :, 0]
        values[: self.rows, :, self.length - 1] = values_BHSD[:, :, 0]
        return keys[: self.rows, :, : self.length], values[: self.rows, :, : self.length]

    def move(self, sources: Tensor, targets: Tensor, rows: int) -> None:
        """Row `sources[i]` becomes row `targets[i]`; only the first `rows` rows go on."""
        if len(sources):
            for tensor in (*self._keys.values(), *self._values.values()):
                tensor[targets, :, : self.length] = tensor[sources, :, : self.length]
        self.rows = rows

    def _room_like(self, new: Tensor) -> Tensor:
        return new.new_empty(self.rows, new.shape[1], self._capacity, new.shape[3])

    def _wider(self, old: Tensor) -> Tensor:
        heads, size = old.shape[1], old.shape[3]
        wider = old.new_empty(self.rows, heads, self._capacity, size)
        wider[:, :, : self.length - 1] = old[: self.rows, :, : self.length - 1]
        return wider
