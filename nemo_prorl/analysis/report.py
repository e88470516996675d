"""report.md with its pictures: what some runs of the same recipe did to held-out scores, and how they went."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

from nemo_prorl.analysis.figures import draw_training, draw_validation
from nemo_prorl.analysis.history import Change, RunHistory
from nemo_prorl.evaluation.estimate import OVERALL


def write_report(
    folder: Path,
    run_folders: Mapping[str, Path],
    *,
    title: str,
    introduction: str = "",
    sections: Sequence[tuple[str, str]] = (),
) -> Path:
    """Write `folder`/report.md, training.png and validation.png; returns the path of report.md.

    `run_folders`: runs of one recipe by name, each with a metrics.jsonl that has at least two validations.
    `sections`: (heading, Markdown) to put at the end.

    Raises:
        DataError: a run has no training step, or wasn't validated before and after.
    """
    runs = [RunHistory.read(path, name) for name, path in run_folders.items()]
    folder.mkdir(parents=True, exist_ok=True)
    parts = [
        f"# {title}",
        introduction,
        "## Held-out problems, before and after",
        change_table(runs),
        change_notes(runs),
        f"![pass@k on held-out problems]({draw_validation(folder / 'validation.png', runs, 'Held-out problems').name})",
        "## Training",
        f"![reward, entropy, KL, length]({draw_training(folder / 'training.png', runs, 'Training').name})",
        reset_list(runs),
    ]
    for heading, text in sections:
        parts += [f"## {heading}", text]
    path = folder / "report.md"
    partial = path.with_name("report.md.partial")
    partial.write_text("\n\n".join(part for part in parts if part) + "\n", encoding="utf-8")
    os.replace(partial, path)
    return path


def change_table(runs: Sequence[RunHistory]) -> str:
    """A Markdown table: a row a task, and for pass@1 and the largest k what came before, after, and the gain."""
    ks = [runs[0].ks[0], runs[0].ks[-1]] if len(runs[0].ks) > 1 else runs[0].ks
    heads = ["task", *(f"pass@{k} {when}" for k in ks for when in ("before", "after", "gain"))]
    rows = [heads, ["---", *["---:"] * (len(heads) - 1)]]
    for task in [*runs[0].tasks, OVERALL]:
        row = ["**mean over tasks**" if task == OVERALL else task]
        for k in ks:
            change = Change.of(runs, task, k)
            row += [spread(change.before), spread(change.after), spread(change.gains, signed=True)]
        rows.append(row)
    return "\n".join("| " + " | ".join(row) + " |" for row in rows)


def spread(values: Sequence[float], *, signed: bool = False) -> str:
    """The mean, and of several values the smallest and the largest.

    >>> spread([0.25]), spread([0.1, 0.4], signed=True)
    ('0.250', '+0.250 (+0.100 to +0.400)')
    """
    form = "+.3f" if signed else ".3f"
    mean = f"{fmean(values):{form}}"
    return mean if len(values) == 1 else f"{mean} ({min(values):{form}} to {max(values):{form}})"


def change_notes(runs: Sequence[RunHistory]) -> str:
    """How to read the table."""
    steps = sorted({run.validations[-1]["step"] for run in runs})
    after = f"step {steps[0]}" if len(steps) == 1 else f"the last step ({steps[0]} to {steps[-1]})"
    what = f"Before: the cold start, step {runs[0].validations[0]['step']}. After: {after}."
    if len(runs) == 1:
        return what + " One run; its spread over seeds is not known from it."
    return what + f" Mean of {len(runs)} runs ({', '.join(run.name for run in runs)}); smallest to largest in brackets."


def reset_list(runs: Sequence[RunHistory]) -> str:
    """Every reset with its reason, run by run."""
    lines = []
    for run in runs:
        for reset in run.resets:
            where = f"{run.name}, step {reset.step}" if len(runs) > 1 else f"step {reset.step}"
            lines.append(f"- {where}: {reset.reason or 'no reason was recorded'}")
    return "\n".join(["Resets of the reference policy and the optimizer:", "", *lines]) if lines else "No resets."
