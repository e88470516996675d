"""Whether two model folders hold the same weights, tensor by tensor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

BIT_TYPES = {2: torch.int16, 4: torch.int32}  # by bytes of an element


class NamedTensors(Protocol):
    """Tensors by Hugging Face's names."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all of them."""

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of one, without reading it."""

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of one, without reading it."""

    def get(self, name: str) -> Tensor:
        """The tensor."""


@dataclass(frozen=True)
class TensorComparison:
    """A tensor of two models. `difference` says what sets them apart, None when they are the same bit for bit.

    `largest` is the largest absolute difference, None without a common shape; infinite where a value is not a number
    on one side alone.
    """

    name: str
    difference: str | None = None
    largest: float | None = None


def compare_tensors(left: NamedTensors, right: NamedTensors) -> Iterator[TensorComparison]:
    """Every tensor of the two, in the order of `left`, then those that `right` alone has. Two are held at a time."""
    theirs, ours = set(right.names), set(left.names)
    for name in left.names:
        yield _compare(name, left, right) if name in theirs else TensorComparison(name, "only in the first")
    yield from (TensorComparison(name, "only in the second") for name in right.names if name not in ours)


def _compare(name: str, left: NamedTensors, right: NamedTensors) -> TensorComparison:
    if left.shape(name) != right.shape(name):
        return TensorComparison(name, f"shape {list(left.shape(name))} and {list(right.shape(name))}")
    ours, theirs = left.get(name), right.get(name)
    if left.dtype(name) != right.dtype(name):
        dtypes = f"{left.dtype(name)} and {right.dtype(name)}".replace("torch.", "")
        return TensorComparison(name, dtypes, largest_difference(ours, theirs))
    if same_bits(ours, theirs):
        return TensorComparison(name)
    return TensorComparison(name, "values", largest_difference(ours, theirs))


def same_bits(left: Tensor, right: Tensor) -> bool:
    """Whether two tensors of one dtype and shape are the same bit for bit: not-a-number equals itself, 0 is not -0."""
    bits = BIT_TYPES[left.element_size()]
    return torch.equal(left.contiguous().view(bits), right.contiguous().view(bits))


def largest_difference(left: Tensor, right: Tensor) -> float:
    """The largest absolute difference, in float64; values that are not a number on both sides don't differ."""
    difference = (left.double() - right.double()).abs()
    same = (left == right) | (left.isnan() & right.isnan())  # inf - inf is not a number
    largest = difference.masked_fill(same, 0.0).amax().item() if difference.numel() else 0.0
    return math.inf if math.isnan(largest) else float(largest)
