"""An evaluation in the layouts of the paper's tables, as text to read and as Markdown to publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nemo_prorl.evaluation.published import TABLES, Place, PublishedTable
from nemo_prorl.evaluation.records import Column, Measure, Results, SetScore, Table
from nemo_prorl.evaluation.resampling import Resampled
from nemo_prorl.evaluation.scoring import SetNumbers
from nemo_prorl.telemetry.columns import aligned

Rows = list[list[str]]  # the first one is the head
NOTHING = "-"
PER_CENT = 100.0


def paper_tables(sets: Mapping[str, SetNumbers], beside: Sequence[str]) -> list[Table]:
    """The paper's tables of which something was evaluated, with the published numbers of the models `beside`."""
    tables = [_filled(table, sets, beside) for table in TABLES]
    return [table for table in tables if any(column.measure is not None for column in table.columns)]


def _filled(table: PublishedTable, sets: Mapping[str, SetNumbers], beside: Sequence[str]) -> Table:
    placed = {name: _at(place, sets) for name, place in table.columns.items() if place is not None}
    known = [found for found in placed.values() if found is not None]
    average = Resampled.mean(known) if len(known) == len(placed) else None
    published = {model: table.of(model) for model in beside if model in table.rows}
    columns = []
    for name, place in table.columns.items():
        found = average if place is None else placed[name]
        others = {model: row[name] for model, row in published.items() if name in row}
        measure = None if found is None else found.scaled(PER_CENT).measure()
        columns.append(Column(name=name, measure=measure, published=others))
    return Table(title=table.title, source=table.source, columns=tuple(columns))


def _at(place: Place, sets: Mapping[str, SetNumbers]) -> Resampled | None:
    """The score of a place; None: it wasn't evaluated whole."""
    if place.set not in sets:
        return None
    numbers = sets[place.set]
    if not place.tasks:
        return numbers.whole.measures["score"]
    if not set(place.tasks) <= numbers.tasks.keys():
        return None
    return Resampled.mean([numbers.tasks[task].measures["score"] for task in place.tasks])


def as_text(results: Results) -> str:
    """Everything for a terminal."""
    return "\n\n".join(f"{title}\n\n{aligned(rows)}" for title, rows in _all(results)) + "\n"


def as_markdown(results: Results) -> str:
    """Everything as Markdown."""
    head = f"# {results.model.name}\n\nPer cent; ± one standard error, by bootstrap over problems.\n"
    return head + "".join(f"\n## {title}\n\n{markdown_table(rows)}\n" for title, rows in _all(results))


def _all(results: Results) -> list[tuple[str, Rows]]:
    shown = [("Evaluation sets", _sets(results.sets))]
    return shown + [
        (f"{table.title} (layout of {table.source})", _paper_rows(results.model.name, table))
        for table in results.tables
    ]


def _sets(sets: Mapping[str, SetScore]) -> Rows:
    """A row a set; pass@k of 1 and of the largest k."""
    rows = [["set", "problems", "samples", "score", "pass@1", "pass@k", "largest k", "tokens", "cut", "unjudged"]]
    for name, score in sets.items():
        most = max(score.pass_at_k)
        rows.append(
            [
                *(name, str(score.problems), str(score.samples_per_prompt), _per_cent(score.score)),
                *(_per_cent(score.solved), _per_cent(score.pass_at_k[most]), str(most)),
                *(f"{score.response_tokens.value:.0f}", _per_cent(score.truncated), _per_cent(score.unjudged)),
            ]
        )
    return rows


def _paper_rows(model: str, table: Table) -> Rows:
    others = list(dict.fromkeys(other for column in table.columns for other in column.published))
    own = [NOTHING if column.measure is None else _number(column.measure) for column in table.columns]
    rows = [["model", *(column.name for column in table.columns)], [model, *own]]
    for other in others:
        told = [f"{column.published[other]:.2f}" if other in column.published else NOTHING for column in table.columns]
        rows.append([f"{other} (published)", *told])
    return rows


def _per_cent(measure: Measure) -> str:
    return _number(measure, PER_CENT)


def _number(measure: Measure, unit: float = 1.0) -> str:
    error = "" if measure.standard_error is None else f" ± {unit * measure.standard_error:.2f}"
    return f"{unit * measure.value:.2f}{error}"


def markdown_table(rows: Sequence[Sequence[str]]) -> str:
    """The first row is the head; all columns but the first are numbers."""
    head, *body = rows
    rule = ["---", *("---:" for _ in head[1:])]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, rule, *body])
