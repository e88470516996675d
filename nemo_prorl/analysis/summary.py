"""An analysis in words and tables, as Markdown."""

from __future__ import annotations

from nemo_prorl.analysis.records import Analysis, Correlation, Sweep
from nemo_prorl.evaluation.records import Measure
from nemo_prorl.evaluation.tables import markdown_table

MOST_CHANGES = 20  # problems listed by name


def in_words(analysis: Analysis) -> str:
    """analysis.md."""
    models = ", ".join(f"{role}: {model.name}" for role, model in analysis.models.items())
    sections = [
        f"# The boundary of reasoning\n\n{models}. Per cent; intervals of 95 %, by bootstrap over problems.",
        f"## Benchmarks\n\n{_benchmarks(analysis)}",
        f"## Base competence and gain\n\n{_competence(analysis)}",
        *(f"## Difficulty: {sweep.task}\n\n{_sweep(sweep)}" for sweep in analysis.sweeps),
        f"## Problems newly solved and newly lost\n\n{_changes(analysis)}",
    ]
    return "\n\n".join(sections) + "\n"


def _benchmarks(analysis: Analysis) -> str:
    head = ["benchmark", "problems", "pass@1 base", "pass@1 final", "k", "gain in pass@k", "since the middle", "regime"]
    rows = [head]
    for name, one in sorted(analysis.benchmarks.items(), key=lambda item: -item[1].regime.gain.value):
        regime = one.regime
        rows.append(
            [
                *(name + (" (unseen)" if one.is_unseen else ""), str(one.problems)),
                *(f"{100 * one.distribution.means[role]:.1f}" for role in ("base", "final")),
                *(str(regime.k), _signed(regime.gain)),
                "-" if regime.late_gain is None else _signed(regime.late_gain),
                f"{regime.kind} ({100 * regime.confidence:.0f} % of resamples)",
            ]
        )
    return markdown_table(rows)


def _competence(analysis: Analysis) -> str:
    found = analysis.competence
    said = [
        f"Base pass@{found.k} and gain, {found.base_and_gain.points} benchmarks: {_correlation(found.base_and_gain)}.",
        f"Base and gain from different halves of the base's answers: {_correlation(found.halves)}.",
    ]
    if found.creativity_and_gain is not None:
        said.append(f"The base's creativity index and gain: {_correlation(found.creativity_and_gain)}.")
    return "\n".join(said)


def _correlation(found: Correlation) -> str:
    if found.pearson is None:
        return "too few benchmarks, or none differs"
    told = f"Pearson {found.pearson:+.2f} (p = {found.pearson_p_value:.3g})"
    if found.spearman is not None:
        told += f", Spearman {found.spearman:+.2f} (p = {found.spearman_p_value:.3g})"
    return told


def _sweep(sweep: Sweep) -> str:
    rows = [["level", *(f"{role} pass@{k}" for role in sweep.pass_1 for k in (1, sweep.k))]]
    for place, level in enumerate(sweep.levels):
        cells = [_interval(measures[role][place]) for role in sweep.pass_1 for measures in (sweep.pass_1, sweep.pass_k)]
        rows.append([str(level), *cells])
    return markdown_table(rows)


def _changes(analysis: Analysis) -> str:
    rows = [["benchmark", "newly solved", "surely", "newly lost", "surely", "p (sign test)"]]
    for name, one in analysis.benchmarks.items():
        changes = one.changes
        if changes.newly_solved or changes.newly_lost:
            counts = [
                str(number)
                for listed in (changes.newly_solved, changes.newly_lost)
                for number in (len(listed), sum(change.adjusted <= 0.05 for change in listed))
            ]
            rows.append([name, *counts, f"{changes.sign_p_value:.3g}"])
    if len(rows) == 1:
        return "None."
    listed = sorted(
        ((name, change) for name, one in analysis.benchmarks.items() for change in one.changes.newly_solved),
        key=lambda item: item[1].p_value,
    )
    lines = [
        f"- {name}, {change.uid}: {change.base_solved} of {change.base_samples} before, {change.final_solved} of "
        f"{change.final_samples} after (p = {change.p_value:.2g}); before, it may have been solved up to "
        f"{100 * change.hidden_up_to:.1f} % of the time"
        for name, change in listed[:MOST_CHANGES]
    ]
    sure = "Surely: p <= 0.05 by Fisher's exact test after Holm's correction within the benchmark."
    return "\n".join([markdown_table(rows), "", sure, *([""] if lines else []), *lines])


def _signed(measure: Measure) -> str:
    return f"{100 * measure.value:+.1f}" + _range(measure, "+")


def _interval(measure: Measure) -> str:
    return f"{100 * measure.value:.1f}" + _range(measure, "")


def _range(measure: Measure, sign: str) -> str:
    if measure.low is None or measure.high is None:
        return ""
    return f" [{100 * measure.low:{sign}.1f}, {100 * measure.high:{sign}.1f}]"
