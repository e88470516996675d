"""What a stage draws of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Blend:
    """How often a stage draws what, and how hard it may be.

    `domain_weights`: how often each domain is drawn, in any unit; a domain that it leaves out is not drawn. Among the
    sources of a domain their shares decide. None of `exclude_domains` is drawn, whatever the weights.
    `source_weights`: how often each source is drawn, in the place of their own weights.
    Empty ones stand for what the data say. `pass_rates`: lowest and highest pass rate so far of the problems to draw,
    in the place of the limits that the data set.
    """

    domain_weights: Mapping[str, float] = field(default_factory=dict)
    exclude_domains: frozenset[str] = frozenset()
    source_weights: Mapping[str, float] = field(default_factory=dict)
    pass_rates: tuple[float, float] | None = None


AS_THE_DATA_SAY = Blend()
