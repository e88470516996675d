"""How often each source and each domain is drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nemo_prorl.data.blend import Blend
from nemo_prorl.data.mixture.stream import Stream
from nemo_prorl.data.sources.base import Source
from nemo_prorl.errors import DataError


@dataclass(frozen=True)
class Weighting:
    """How sources' weights become shares of the draws.

    `by_size`: a source counts with its weight times its rows, so that weights alike give every row the same chance.
    `temperature`: shares are raised to 1 / temperature; above 1 small sources are drawn more often than their share,
    as multilingual training does it (Conneau et al. 2019, section 3.1, whose alpha is 1 / temperature).
    """

    by_size: bool = False
    temperature: float = 1.0

    def smoothed(self, weights: Mapping[str, float]) -> dict[str, float]:
        """Shares that add up to 1.

        >>> Weighting(temperature=2.0).smoothed({"large": 9.0, "small": 1.0})
        {'large': 0.75, 'small': 0.25}
        """
        total = sum(weights.values())
        powers = {name: (weight / total) ** (1 / self.temperature) for name, weight in weights.items()}
        return {name: power / sum(powers.values()) for name, power in powers.items()}


def streams_of(sources: Mapping[str, tuple[Source, float]], seed: int, weighting: Weighting) -> list[Stream]:
    """Every domain of every source, with its share of all draws.

    Raises:
        DataError: there is no source, one without rows, or one without a size that is to be weighed by it.
    """
    if not sources:
        raise DataError("data.sources is empty; a mixture needs at least one source of problems")
    weights = {}
    for name, (source, weight) in sorted(sources.items()):  # sorted: the order in a YAML file must not matter
        if not source.domains or source.size == 0:
            raise DataError(f"data.sources.{name} has no rows; give it some or take it out")
        if weighting.by_size and source.size is None:
            raise DataError(
                f"data.sources.{name} never ends, so data.weighting=by_size can't weigh it; give it a size, or set "
                "data.weighting=as_given"
            )
        weights[name] = weight * source.size if weighting.by_size and source.size is not None else weight
    shares = weighting.smoothed(weights)
    streams = []
    for name, (source, _) in sorted(sources.items()):
        for domain, numbers in sorted(source.domains.items()):
            part = 1 / len(source.domains) if numbers is None or not source.size else len(numbers) / source.size
            streams.append(Stream(name, source, domain, numbers, seed, part=part, share=shares[name] * part))
    return streams


def shares_in(blend: Blend, streams: Sequence[Stream]) -> list[float]:
    """Each stream's share of the draws, in any unit.

    Raises:
        DataError: weights for a source or a domain that isn't there, or none above 0.
    """
    shares = [stream.share for stream in streams]
    if blend.source_weights:
        _refuse_strangers("source_weights", blend.source_weights, {stream.source_name for stream in streams})
        shares = [blend.source_weights.get(stream.source_name, 0.0) * stream.part for stream in streams]
    shares = [
        0.0 if stream.domain in blend.exclude_domains else share for stream, share in zip(streams, shares, strict=True)
    ]
    totals: dict[str, float] = {}
    for stream, share in zip(streams, shares, strict=True):
        if share > 0:
            totals[stream.domain] = totals.get(stream.domain, 0.0) + share
    if not totals:
        raise DataError(
            f"the stage excludes {', '.join(sorted(blend.exclude_domains))}, which is all that its sources have; "
            "exclude fewer domains, or add sources"
        )
    if not blend.domain_weights:
        return shares
    weights = {domain: w for domain, w in blend.domain_weights.items() if domain not in blend.exclude_domains}
    _refuse_strangers("domain_weights", weights, totals)
    return [
        weights.get(stream.domain, 0.0) * share / totals[stream.domain] if share > 0 else 0.0
        for stream, share in zip(streams, shares, strict=True)
    ]


def _refuse_strangers(setting: str, weights: Mapping[str, float], known: Mapping[str, float] | set[str]) -> None:
    for name, weight in weights.items():
        if weight > 0 and name not in known:
            kind = setting.removesuffix("_weights")
            nobody = "no source has such problems; the sources have" if kind == "domain" else "there are only"
            raise DataError(
                f"{setting} draws from {name!r}, but {nobody} {', '.join(sorted(known))}. "
                f"Add it to data.sources, or take the {kind} out of the stage."
            )
    if not any(weight > 0 for weight in weights.values()):
        kind = setting.removesuffix("_weights")
        raise DataError(f"{setting}={dict(weights)} draws from no {kind}; give one a weight above 0")
