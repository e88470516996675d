"""The weaker the start, the stronger the gain (ProRL, section 4.1 and Figure 3), with its significance.

The correlation of base pass@k with the gain final - base is negative even of pure noise: where the base was lucky, the
gain is smaller. `halves` takes that away: each problem's answers of the base model are split in two, the base comes
from one half and the gain from the other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.analysis.boundary import Benchmark, boundary_of
from nemo_prorl.analysis.exact_tests import Counts, correlation, ranks
from nemo_prorl.analysis.records import Competence, Correlation, Creativity, Point, Role, Sweep
from nemo_prorl.evaluation.pass_at_k import pass_at_k_by_correct
from nemo_prorl.evaluation.records import Measure
from nemo_prorl.evaluation.resampling import resampled


def competence(
    benchmarks: Mapping[str, Benchmark], k: int, creativity: Mapping[str, Creativity] | None = None
) -> Competence:
    """Over benchmarks, at pass@k (a smaller k where there are fewer samples). `creativity`: of the base, by name."""
    creativity = creativity or {}
    points = [
        Point(
            benchmark=name,
            domain=one.domain,
            base=_boundary(one, "base", k),
            gain=_boundary(one, "final", k) - _boundary(one, "base", k),
            creativity=creativity[name].index.value if name in creativity else None,
        )
        for name, one in benchmarks.items()
    ]
    base, gain = (np.array([getattr(point, name) for point in points]) for name in ("base", "gain"))
    half_base, half_gain = _halves(list(benchmarks.values()), k)
    known = [point for point in points if point.creativity is not None]
    by_creativity = None
    if known:
        of_base, of_gain = np.array([[point.creativity, point.gain] for point in known], dtype=np.float64).T
        by_creativity = correlated(of_base, of_gain)
    return Competence(
        k=k,
        points=tuple(points),
        base_and_gain=correlated(base, gain),
        halves=correlated(half_base, half_gain),
        creativity_and_gain=by_creativity,
    )


def correlated(x_P: NDArray[np.float64], y_P: NDArray[np.float64]) -> Correlation:
    """Of values and of their ranks."""
    pearson, p_value = correlation(x_P, y_P) or (None, None)
    spearman, rank_p_value = correlation(ranks(x_P), ranks(y_P)) or (None, None)
    return Correlation(
        points=len(x_P),
        pearson=pearson,
        pearson_p_value=p_value,
        spearman=spearman,
        spearman_p_value=rank_p_value,
    )


def sweeps(benchmarks: Mapping[str, Benchmark], boundary_k: int) -> tuple[Sweep, ...]:
    """Tasks of one set that are called <name>_<level>, at two levels or more."""
    families: dict[tuple[str, str], dict[int, Benchmark]] = {}
    for one in benchmarks.values():
        name, _, level = one.task.rpartition("_")
        if name and level.isdecimal():
            families.setdefault((one.set, name), {})[int(level)] = one
    return tuple(
        _sweep(set_name, name, [levels[level] for level in sorted(levels)], sorted(levels), boundary_k)
        for (set_name, name), levels in families.items()
        if len(levels) > 1
    )


def _sweep(set_name: str, name: str, ones: Sequence[Benchmark], levels: Sequence[int], boundary_k: int) -> Sweep:
    k = min(boundary_of(one, boundary_k) for one in ones)
    roles = list(ones[0].counts)
    return Sweep(
        task=name,
        set=set_name,
        levels=tuple(levels),
        k=k,
        pass_1={role: tuple(_measure(one, role, 1) for one in ones) for role in roles},
        pass_k={role: tuple(_measure(one, role, k) for one in ones) for role in roles},
    )


def _measure(one: Benchmark, role: Role, k: int) -> Measure:
    return resampled(one.pass_at(role, k)[None], one.task)[0].measure()


def _boundary(one: Benchmark, role: Role, k: int) -> float:
    return float(one.pass_at(role, boundary_of(one, k)).mean())


def _halves(ones: Sequence[Benchmark], k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Base and gain of each benchmark, each from another half of the base's answers, at a k that half of them allow.

    Which of a problem's right answers are in which half is drawn at random, as if its answers were dealt out; the draw
    depends on the benchmarks' names.
    """
    random = np.random.Generator(np.random.PCG64(crc32("\n".join(one.name for one in ones).encode())))
    ones = [one for one in ones if one.counts["base"].samples > 1]  # a single answer has no halves
    base, gain = np.zeros(len(ones)), np.zeros(len(ones))
    for place, one in enumerate(ones):
        whole = one.counts["base"]
        size = whole.samples // 2
        at = min(boundary_of(one, k), size)
        first = random.hypergeometric(whole.solved_P, whole.samples - whole.solved_P, size)
        rest = whole.solved_P - first
        base[place] = _mean_pass(Counts(first, size), at)
        gain[place] = _mean_pass(one.counts["final"], at) - _mean_pass(Counts(rest, whole.samples - size), at)
    return base, gain


def _mean_pass(counts: Counts, k: int) -> float:
    return float(pass_at_k_by_correct(counts.samples, k)[counts.solved_P].mean())
