"""What came of a study: a table of figures with their spread over seeds, and a picture."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from benchmarks.studies.arms import Study
from nemo_prorl.analysis.history import Curve, RunHistory, mean_curve

COLOURS = ("#d97706", "#2563a8")
Runs = Mapping[str, Sequence[RunHistory]]  # by the arm's name, one a seed


def _validated(metric: str) -> Callable[[RunHistory], Curve]:
    return lambda run: run.validation_curve(f"validation/all/{metric}")


def _trained(metric: str) -> Callable[[RunHistory], Curve]:
    return lambda run: run.curve(metric)


PANELS: Mapping[str, tuple[Callable[[RunHistory], Curve], str]] = {
    "held-out pass@1": (_validated("pass_at_1"), "fraction solved"),
    "held-out pass@16": (_validated("pass_at_16"), "fraction solved"),
    "entropy": (_trained("policy/entropy"), "nats per token"),
    "KL to the reference": (_trained("kl/reference"), "nats per token"),
}


def figures(runs: Runs) -> list[dict[str, Any]]:
    """Of each arm: at the start, at its best, and at the end; the mean over seeds and the range."""
    return [{"arm": name, "seeds": len(histories), **_figures_of(histories)} for name, histories in runs.items()]


def _figures_of(histories: Sequence[RunHistory]) -> dict[str, Any]:
    pass_1 = [[value for _, value in _validated("pass_at_1")(run)] for run in histories]
    pass_16 = [[value for _, value in _validated("pass_at_16")(run)] for run in histories]
    entropy = [fmean(value for _, value in run.curve("policy/entropy")[-10:]) for run in histories]
    return {
        "start_pass_at_1": _spread([curve[0] for curve in pass_1]),
        "best_pass_at_1": _spread([max(curve) for curve in pass_1]),
        "end_pass_at_1": _spread([curve[-1] for curve in pass_1]),
        "end_pass_at_16": _spread([curve[-1] for curve in pass_16]),
        "end_entropy": _spread(entropy),
        "resets": _spread([float(len(run.resets)) for run in histories]),
    }


def _spread(values: Sequence[float]) -> dict[str, float]:
    return {"mean": fmean(values), "least": min(values), "most": max(values)}


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Markdown."""
    names = [key for key in rows[0] if key not in ("arm", "seeds")]
    lines = ["| " + " | ".join(["", *(name.replace("_", " ").replace(" at ", "@") for name in names)]) + " |"]
    lines.append("|---|" + "---:|" * len(names))
    for row in rows:
        cells = [f"{row[n]['mean']:.2f} ({row[n]['least']:.2f} to {row[n]['most']:.2f})" for n in names]
        lines.append(f"| {row['arm']} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def draw(path: Path, study: Study, runs: Runs) -> None:
    """The mean over seeds as a firm line in a band from the least to the most."""
    figure = Figure(figsize=(10, 6.2), dpi=130, layout="constrained")
    figure.suptitle(study.question, fontsize=13, fontweight="bold", x=0.01, ha="left")
    for panel, (title, (curve, unit)) in zip(figure.subplots(2, 2).flat, PANELS.items(), strict=True):
        for colour, (name, histories) in zip(COLOURS, runs.items(), strict=True):
            curves = [curve(run) for run in histories]
            steps, means = zip(*mean_curve(curves), strict=True) if all(curves) else ((), ())
            tables = [dict(one) for one in curves]
            panel.plot(steps, means, color=colour, linewidth=1.8, label=name)
            least, most = ([pick(table[step] for table in tables) for step in steps] for pick in (min, max))
            panel.fill_between(steps, least, most, color=colour, alpha=0.15, linewidth=0)
        panel.set_title(title, fontsize=11, loc="left")
        panel.set_xlabel("training step", fontsize=9)
        panel.set_ylabel(unit, fontsize=9)
        panel.set_ylim(bottom=0)
        panel.grid(axis="y", color="#e3e5e8", linewidth=0.8)
        panel.spines[["top", "right", "left"]].set_visible(False)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(path, facecolor="white")
