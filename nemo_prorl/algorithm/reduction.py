"""From a value for each token to a number for the whole update, exact for every split into microbatches and ranks.

Letters: B responses, T predicted tokens. An aggregation takes (values_BT, mask_BT) and returns a `Mean`: total and
count travel apart, and somebody divides once, at the very end, by the count of everybody. Positions outside the mask
contribute exactly 0, whatever stands there, infinities and not-a-numbers included.

Metrics are of three kinds. Parts of one metric, from microbatches or from ranks, are put together by `+`:
`Mean` by a sum of totals and of counts, `Max` by the larger, `Min` by the smaller. Over ranks that is two all-reduces:
`pack`, then SUM over its first tensor and MAX over its second, then `unpack`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, NamedTuple, TypeAlias

import torch
from pydantic import Field
from torch import Tensor

from nemo_prorl.errors import ShapeError


class Mean(NamedTuple):
    """total / count, kept apart so that microbatches and ranks add up exactly.

    total  scalar float32
    count  scalar int64: tokens or sequences; the metric's name or the aggregation says which
    """

    total: Tensor
    count: Tensor  # type: ignore[assignment]  # hides tuple.count, which nobody wants here

    def __add__(self, other: Mean) -> Mean:  # type: ignore[override]
        return Mean(self.total + other.total, self.count + other.count)

    @property
    def value(self) -> float:
        """The mean; 0.0 of nothing."""
        return float(self.total.detach()) / int(self.count) if int(self.count) else 0.0


class Max(NamedTuple):
    """The largest value seen: scalar float32, -inf when none was."""

    largest: Tensor

    def __add__(self, other: Max) -> Max:  # type: ignore[override]
        return Max(torch.maximum(self.largest, other.largest))

    @property
    def value(self) -> float:
        """The largest value; 0.0 of nothing, as a mean."""
        return 0.0 if float(self.largest) == -torch.inf else float(self.largest)


class Min(NamedTuple):
    """The smallest value seen: scalar float32, +inf when none was."""

    smallest: Tensor

    def __add__(self, other: Min) -> Min:  # type: ignore[override]
        return Min(torch.minimum(self.smallest, other.smallest))

    @property
    def value(self) -> float:
        """The smallest value; 0.0 of nothing, as a mean."""
        return 0.0 if float(self.smallest) == torch.inf else float(self.smallest)


Metric: TypeAlias = Mean | Max | Min
Aggregation: TypeAlias = Callable[[Tensor, Tensor], Mean]


def masked(values_BT: Tensor, mask_BT: Tensor) -> Tensor:
    """`values_BT` with exact zeros outside the mask; no gradient flows to a position outside it.

    Mask first, exponentiate after: the derivative of an infinite exponential times a zero is not a number.
    """
    return torch.where(mask_BT, values_BT, torch.zeros_like(values_BT))


def token_mean(values_BT: Tensor, mask_BT: Tensor) -> Mean:
    """Every token of the update weighs the same (DAPO's token-level loss). Count: tokens."""
    return Mean(masked(values_BT, mask_BT).sum(), mask_BT.sum())


def sequence_mean(values_BT: Tensor, mask_BT: Tensor) -> Mean:
    """Every response weighs the same: the mean of the responses' own token means (GRPO). Count: responses."""
    tokens_B = mask_BT.sum(dim=1)
    # A row without a token adds 0 / 1 and isn't counted: padding rows and wholly masked responses change nothing.
    means_B = masked(values_BT, mask_BT).sum(dim=1) / tokens_B.clamp(min=1)
    return Mean(means_B.sum(), (tokens_B > 0).sum())


def constant_length(values_BT: Tensor, mask_BT: Tensor, *, length: Annotated[int, Field(gt=0)]) -> Mean:
    """Each response's sum over one and the same `length` in tokens, whatever its own (Dr. GRPO). Count: responses."""
    return Mean(masked(values_BT, mask_BT).sum() / length, mask_BT.any(dim=1).sum())


def largest(values_BT: Tensor, mask_BT: Tensor) -> Max:
    """The largest value inside the mask, without gradient."""
    return Max(torch.where(mask_BT, values_BT.detach(), -torch.inf).amax())


def smallest(values_BT: Tensor, mask_BT: Tensor) -> Min:
    """The smallest value inside the mask, without gradient."""
    return Min(torch.where(mask_BT, values_BT.detach(), torch.inf).amin())


def merge(*parts: Mapping[str, Metric]) -> dict[str, Metric]:
    """The metrics of several microbatches as one. A name that only some parts have is kept as those have it.

    Raises:
        ShapeError: two parts know one name as different kinds of metric.
    """
    merged: dict[str, Metric] = {}
    for part in parts:
        for name, metric in part.items():
            known = merged.get(name)
            if known is not None and type(known) is not type(metric):
                raise ShapeError(
                    f"metric {name!r} is a {type(known).__name__} in one part and a {type(metric).__name__} in "
                    "another; give every kind its own name"
                )
            merged[name] = metric if known is None else known + metric  # type: ignore[operator]
    return merged


Layout: TypeAlias = tuple[tuple[str, type[Any]], ...]


def pack(metrics: Mapping[str, Metric]) -> tuple[Tensor, Tensor, Layout]:
    """Metrics as two float64 vectors, to be all-reduced over ranks with SUM and with MAX, and what `unpack` needs.

    float64 holds a count up to 2**53 and every float32 exactly. Ranks must hold metrics of the same names and kinds;
    their order is by name. A vector is empty when no metric needs it.
    """
    layout: Layout = tuple((name, type(metrics[name])) for name in sorted(metrics))
    sums: list[Tensor] = []
    maxes: list[Tensor] = []
    for name, _ in layout:
        metric = metrics[name]
        if isinstance(metric, Mean):
            sums += [metric.total, metric.count]
        else:
            # A minimum is the maximum of what is negated.
            maxes += [metric.largest if isinstance(metric, Max) else -metric.smallest]
    return _as_vector(sums, maxes), _as_vector(maxes, sums), layout


def unpack(sums: Tensor, maxes: Tensor, layout: Layout) -> dict[str, Metric]:
    """The inverse of `pack`, after the vectors were reduced over ranks."""
    metrics: dict[str, Metric] = {}
    totals, extremes = iter(sums.unbind()), iter(maxes.unbind())
    for name, kind in layout:
        if kind is Mean:
            metrics[name] = Mean(next(totals).float(), next(totals).round().long())
        elif kind is Max:
            metrics[name] = Max(next(extremes).float())
        else:
            metrics[name] = Min(-next(extremes).float())
    return metrics


def _as_vector(scalars: list[Tensor], others: list[Tensor]) -> Tensor:
    """`scalars` as one float64 vector; when there is none, an empty one on the device of `others`."""
    if scalars:
        return torch.stack([scalar.detach().double() for scalar in scalars])
    return torch.empty(0, dtype=torch.float64, device=others[0].device if others else None)


AGGREGATIONS = {
    "token_mean": "nemo_prorl.algorithm.reduction:token_mean",  # the default
    "sequence_mean": "nemo_prorl.algorithm.reduction:sequence_mean",
    "constant_length": "nemo_prorl.algorithm.reduction:constant_length",
}
