"""An analysis on a run's page: how the boundary of reasoning moved (section 4 of the paper)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any

from nemo_prorl.analysis.evaluation_section import told
from nemo_prorl.analysis.packed import column, rounded
from nemo_prorl.analysis.records import Analysis, BenchmarkAnalysis, Changes, Correlation, Regime, Sweep
from nemo_prorl.analysis.tables import Table
from nemo_prorl.evaluation.records import Measure

COLOURS = {"base": "sixth", "middle": "second", "final": "first"}
MOST_PROBLEMS = 200  # of one table of newly solved and lost problems


def boundary_section(analysis: Analysis) -> dict[str, Any]:
    """Regimes and competence first, then a chart a benchmark; what has more detail is folded."""
    benchmarks = analysis.benchmarks
    models = "; ".join(f"{role}: {model.name}" for role, model in analysis.models.items())
    folded: list[dict[str, Any]] = [
        {"title": "Difficulty", "plots": [_sweep_plot(sweep) for sweep in analysis.sweeps], "open": True},
        {"title": "Shifts of pass@1", "plots": [_shift_plot(*one) for one in benchmarks.items()]},
        {"title": "Newly solved and newly lost problems", "tables": [t.as_json() for t in _change_tables(benchmarks)]},
        {"title": "Creativity index", "tables": [t.as_json() for t in _creativity_tables(benchmarks)]},
    ]
    return {
        "id": "boundary",
        "title": "The boundary of reasoning",
        "short": "Boundary",
        "lead": f"pass@k tells what a model can solve at all. {models}.",
        "tables": [_regime_table(analysis).as_json()],
        "plots": [_competence_plot(analysis), *(_pass_plot(*one) for one in benchmarks.items())],
        "folded": [fold for fold in folded if fold.get("plots") or fold.get("tables")],
    }


def _regime_table(analysis: Analysis) -> Table:
    rows = []
    for name, one in analysis.benchmarks.items():
        regime, changes = one.regime, one.changes
        rows.append([
            f"{name} (unseen)" if one.is_unseen else name,
            f"{regime.kind}, {regime.confidence:.0%} sure",
            told_change(regime.gain),
            told_change(regime.late_gain),
            told_change(regime.pass_1_gain),
            f"{len(changes.newly_solved)} / {len(changes.newly_lost)}",
            _p(changes.sign_p_value),
        ])  # fmt: skip
    at = boundary_of(analysis)
    heads = ["benchmark", "regime", f"{at}: base to final", "middle to final", "pass@1", "newly solved / lost", "p"]
    note = (
        "Changes are paired by problem, ± one standard error. How sure: the share of bootstrap resamples of the "
        "problems that get the same regime. p: sign test of newly solved against newly lost."
    )
    return Table("How the boundary moved", heads, rows, note, numbers_from=2)


def told_change(measure: Measure | None) -> str:
    """
    >>> told_change(Measure(value=0.5, standard_error=0.25)), told_change(None)
    ('+0.500 ± 0.250', '')
    """
    return "" if measure is None else ("+" if measure.value >= 0 else "") + told(measure)


def _pass_plot(name: str, one: BenchmarkAnalysis) -> dict[str, Any]:
    series = [
        {
            "label": role,
            "colour": COLOURS[role],
            "x": list(curve.ks),
            "y": column(curve.values),
            "low": column(curve.lows),
            "high": column(curve.highs),
        }
        for role, curve in one.curves.items()
    ]
    return {
        "title": name,
        "unit": f"pass@k, {one.problems} problems",
        "note": _told_regime(one.regime) + " Shaded: 95\N{NO-BREAK SPACE}%.",
        "x": {"label": "k", "log": True},
        "bottom": 0,
        "top": 1,
        "series": series,
    }


def _told_regime(regime: Regime) -> str:
    return f"{regime.kind.capitalize()}, {regime.confidence:.0%} sure; pass@{regime.k} {told_change(regime.gain)}."


def boundary_of(analysis: Analysis) -> str:
    """What stands for the boundary: pass@k, k being less than was asked for where there are fewer samples."""
    ks = sorted({one.regime.k for one in analysis.benchmarks.values()} or {analysis.k})
    return f"pass@{ks[0]}" if len(ks) == 1 else f"pass@k, k = {ks[0]} to {ks[-1]}"


def _competence_plot(analysis: Analysis) -> dict[str, Any]:
    competence, at = analysis.competence, boundary_of(analysis)
    points = sorted(competence.points, key=lambda point: (point.domain, point.base))
    series = []
    for domain, of_domain in groupby(points, key=lambda point: point.domain):
        group = list(of_domain)
        series.append({
            "label": domain,
            "colour": domain if domain != "mixed" else "sixth",
            "dots": True,
            "names": [point.benchmark for point in group],
            "x": column(point.base for point in group), "y": column(point.gain for point in group),
        })  # fmt: skip
    both, halves = competence.base_and_gain, competence.halves
    novelty = competence.creativity_and_gain
    more = f" Creativity of the base and gain: {_told_correlation(novelty)}" if novelty else ""
    return {
        "title": "Base against gain",
        "unit": f"gain of {at}",
        "note": f"The weaker the start, the stronger the gain? {_told_correlation(both)} Base and gain from separate "
        f"answers, which is free of a bias: {_told_correlation(halves)}{more}",
        "x": {"label": f"base {at}", "range": [0, 1]},
        "bottom": None,
        "top": None,
        "series": series,
    }


def _told_correlation(found: Correlation) -> str:
    if found.pearson is None:
        return f"No correlation can be told from {found.points} benchmarks."
    rank = "" if found.spearman is None else f", ranks {found.spearman:+.2f} (p {_p(found.spearman_p_value)})"
    return f"Correlation {found.pearson:+.2f} (p {_p(found.pearson_p_value)}){rank}."


def _p(value: float | None) -> str:
    """
    >>> _p(0.00004), _p(0.25), _p(None)
    ('< 0.0001', '0.25', '')
    """
    return "" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _sweep_plot(sweep: Sweep) -> dict[str, Any]:
    series = []
    for measure, by_role in (("pass@1", sweep.pass_1), (f"pass@{sweep.k}", sweep.pass_k)):
        for role, values in by_role.items():
            series.append({
                "label": f"{role} {measure}",
                "colour": COLOURS[role],
                "dash": "" if measure == "pass@1" else "6 3",
                "x": list(sweep.levels),
                "y": column(one.value for one in values),
                "error": column(one.standard_error for one in values),
            })  # fmt: skip
    return {
        "title": sweep.task,
        "unit": "share solved",
        "x": {"label": "level"},
        "bottom": 0,
        "top": 1,
        "series": series,
    }


def _shift_plot(name: str, one: BenchmarkAnalysis) -> dict[str, Any]:
    found, roles = one.distribution, list(one.distribution.counts)
    width = found.edges[1] - found.edges[0]
    centres = column(edge + width / 2 for edge in found.edges[:-1])
    series = [
        {
            "label": role,
            "colour": COLOURS[role],
            "bars": {"width": rounded(width), "place": place, "of": len(roles)},
            "x": centres,
            "y": list(found.counts[role]),
        }
        for place, role in enumerate(roles)
    ]
    means = ", ".join(f"{role} {mean:.3f}" for role, mean in found.means.items())
    return {
        "title": name,
        "unit": "problems by their pass@1",
        "note": f"Means: {means}; p of a shift {_p(found.shift_p_value)}.",
        "x": {"label": "pass@1", "range": [0, 1]},
        "bottom": 0,
        "top": None,
        "series": series,
    }


def _change_tables(benchmarks: Mapping[str, BenchmarkAnalysis]) -> Iterator[Table]:
    heads = ["problem", "", "base solved", "final solved", "p", "p, corrected", "base or final may still solve"]
    for name, one in benchmarks.items():
        rows = _change_rows(one.changes)
        if rows:
            more = f" The first {MOST_PROBLEMS} of {len(rows)} are shown." if len(rows) > MOST_PROBLEMS else ""
            note = (
                "p: one-sided exact test for the problem alone, and after Holm's correction over the benchmark. The "
                f"last column: up to which chance the model without a right answer may still solve it (95 %).{more}"
            )
            yield Table(name, heads, rows[:MOST_PROBLEMS], note, numbers_from=2)


def _change_rows(changes: Changes) -> list[list[str]]:
    told_groups = (("newly solved", changes.newly_solved), ("newly lost", changes.newly_lost))
    return [
        [
            change.uid,
            what,
            f"{change.base_solved} of {change.base_samples}",
            f"{change.final_solved} of {change.final_samples}",
            *(_p(change.p_value), _p(change.adjusted), f"{change.hidden_up_to:.3f}"),
        ]
        for what, group in told_groups
        for change in sorted(group, key=lambda change: change.p_value)
    ]


def _creativity_tables(benchmarks: Mapping[str, BenchmarkAnalysis]) -> Sequence[Table]:
    roles = list(dict.fromkeys(role for one in benchmarks.values() for role in one.creativity))
    rows = [
        [name, *(told(one.creativity[role].index) if role in one.creativity else "" for role in roles)]
        for name, one in benchmarks.items()
        if one.creativity
    ]
    note = "0: every word of an answer stands in the corpus in the same order; 1: nothing of it does."
    return [Table("Creativity index", ["benchmark", *roles], rows, note, numbers_from=1)] if rows else []
