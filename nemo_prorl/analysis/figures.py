"""Pictures of runs, drawn to be read at the width of a page."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator

from nemo_prorl.analysis.history import Curve, RunHistory, mean_curve
from nemo_prorl.evaluation.estimate import OVERALL

BLUE, ORANGE, GREY, INK = "#2563a8", "#d97706", "#8a8f98", "#25282d"
DPI = 150


def draw_training(path: Path, runs: Sequence[RunHistory], title: str) -> Path:
    """Reward, entropy, KL to the reference and response length over steps."""
    figure, panels = _sheet(title, rows=2, columns=2, height=6.2)
    reward, entropy, kl, length = panels
    _plot(reward, runs, "reward/sampled_mean", BLUE, "all sampled groups")
    _plot(reward, runs, "reward/kept_mean", ORANGE, "groups that teach")
    _dress(reward, runs, "Training reward", "mean reward, 0 to 1")
    reward.set_ylim(-0.02, 1.02)
    _plot(entropy, runs, "policy/entropy", BLUE)
    _dress(entropy, runs, "Entropy of the policy", "nats per token")
    entropy.set_ylim(bottom=0)
    _plot(kl, runs, "kl/reference", BLUE)
    _dress(kl, runs, "KL to the reference", "nats per token")
    kl.set_ylim(bottom=0)
    _plot(length, runs, "rollout/response_tokens_mean", BLUE)
    _dress(length, runs, "Response length", "mean tokens per response")
    length.set_ylim(bottom=0)
    _legend(figure, panels, runs)
    return _save(figure, path)


def draw_validation(path: Path, runs: Sequence[RunHistory], title: str) -> Path:
    """pass@1 and pass@k on held-out problems over steps: over all tasks, and one panel a task."""
    tasks, ks = runs[0].tasks, runs[0].ks
    names = [OVERALL, *tasks]
    columns = min(len(names), 4)
    rows = -(-len(names) // columns)
    figure, panels = _sheet(title, rows=rows, columns=columns, height=0.9 + 2.9 * rows)
    for number, (panel, name) in enumerate(zip(panels, names, strict=False)):
        for k, colour in zip((ks[0], ks[-1]) if len(ks) > 1 else ks, (BLUE, ORANGE), strict=False):
            _plot(panel, runs, f"validation/{name}/pass_at_{k}", colour, f"pass@{k}", validation=True)
        _dress(panel, runs, "Mean over tasks" if name == OVERALL else name, "fraction solved" if number == 0 else "")
        panel.set_ylim(-0.02, 1.02)
    for unused in panels[len(names) :]:
        unused.set_visible(False)
    _legend(figure, panels, runs)
    return _save(figure, path)


def _sheet(title: str, *, rows: int, columns: int, height: float) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(10, height), dpi=DPI, layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1))
    figure.suptitle(title, fontsize=13, fontweight="bold", color=INK, x=0.01, ha="left")
    return figure, list(figure.subplots(rows, columns, squeeze=False).flat)


def _plot(
    panel: Axes, runs: Sequence[RunHistory], metric: str, colour: str, label: str = "", *, validation: bool = False
) -> None:
    """One run as a line; of several runs each as a faint line, and their mean as a firm one."""
    curves = [run.validation_curve(metric) if validation else run.curve(metric) for run in runs]
    marker = "o" if validation else None
    if len(curves) > 1:
        for curve in curves:
            panel.plot(*_columns(curve), color=colour, alpha=0.35, linewidth=0.9)
    panel.plot(
        *_columns(mean_curve(curves)),
        color=colour,
        linewidth=1.8,
        marker=marker,
        markersize=4,
        label=label or "_",
        solid_capstyle="round",
    )


def _columns(curve: Curve) -> tuple[list[int], list[float]]:
    return [step for step, _ in curve], [value for _, value in curve]


def _dress(panel: Axes, runs: Sequence[RunHistory], title: str, unit: str) -> None:
    panel.set_title(title, fontsize=11, color=INK, loc="left")
    panel.set_xlabel("training step", fontsize=9, color=INK)
    panel.set_ylabel(unit, fontsize=9, color=INK)
    panel.tick_params(labelsize=9, colors=INK, length=0)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    panel.grid(axis="y", color="#e3e5e8", linewidth=0.8)
    panel.set_axisbelow(True)
    for side in ("top", "right", "left"):
        panel.spines[side].set_visible(False)
    panel.spines["bottom"].set_color(GREY)
    panel.margins(x=0.02)
    for step in sorted({reset.step for run in runs for reset in run.resets}):
        # A reset takes place after its step and before the next one.
        panel.axvline(step + 0.5, color=GREY, linewidth=1.2, linestyle=(0, (4, 3)), zorder=1)


def _legend(figure: Figure, panels: Sequence[Axes], runs: Sequence[RunHistory]) -> None:
    """One legend for the sheet, above the panels at the right."""
    shown: dict[str, Artist] = {}
    for panel in panels:
        for handle, label in zip(*panel.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    if any(run.resets for run in runs):
        shown["reset"] = panels[0].lines[-1]
    if len(runs) > 1:
        panels[0].plot([], [], color=GREY, alpha=0.5, linewidth=0.9, label="single runs")
        shown["single runs"] = panels[0].lines[-1]
    figure.legend(
        shown.values(),
        shown.keys(),
        loc="outside lower center",
        ncols=len(shown) or 1,
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )


def _save(figure: Figure, path: Path) -> Path:
    partial = path.with_name(path.name + ".partial")
    figure.savefig(partial, format="png", facecolor="white")
    os.replace(partial, path)
    return path
