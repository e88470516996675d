"""Held-out scores on a run's page: charts by domain, set and task, and a table of before and after."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from nemo_prorl.analysis.panels import Panel, held_out
from nemo_prorl.analysis.tables import Table
from nemo_prorl.evaluation.estimate import OVERALL

PLACE = re.compile(r"validation/(?P<place>.+)/(score|pass_at_1)")
GROUPS = ("domains/", "sets/")

Record = Mapping[str, Any]


def places_of(validations: Sequence[Record]) -> list[str]:
    """all, then domains, sets and tasks; a group of one is what all is, and is left out."""
    found = sorted(
        {match["place"] for record in validations for name in record if (match := PLACE.fullmatch(name))} - {OVERALL}
    )
    groups = [[place for place in found if place.startswith(group)] for group in GROUPS]
    tasks = [place for place in found if not place.startswith(GROUPS)]
    return [OVERALL, *(place for group in [*groups, tasks] if len(group) > 1 for place in group)]


def panels_by_place(validations: Sequence[Record], ks: Sequence[int]) -> tuple[list[Panel], list[Panel]]:
    """Charts of domains and sets, and those of tasks."""
    places = places_of(validations)[1:]
    groups = [place for place in places if place.startswith(GROUPS)]
    tasks = [place for place in places if not place.startswith(GROUPS)]
    return [held_out(place, ks, named(place)) for place in groups], [held_out(place, ks, place) for place in tasks]


def named(place: str) -> str:
    """
    >>> named("domains/logic"), named("sets/exam"), named("lcm")
    ('Domain: logic', 'Set: exam', 'lcm')
    """
    group, slash, name = place.partition("/")
    return f"{group.removesuffix('s').capitalize()}: {name}" if slash and f"{group}/" in GROUPS else place


def change_table(validations: Sequence[Record], ks: Sequence[int]) -> Table | None:
    """What the first and the last validation of each place said; None: there weren't two."""
    if len(validations) < 2:
        return None
    measures = {f"pass@{k}": f"pass_at_{k}" for k in dict.fromkeys([ks[0], ks[-1]])} if ks else {"score": "score"}
    heads = ["", *(f"{label} {when}" for label in measures for when in ("first", "last", "change"))]
    rows = []
    for place in places_of(validations):
        row = ["All" if place == OVERALL else named(place)]
        for measure in measures.values():
            metric = f"validation/{place}/{measure}"
            having = [record for record in validations if metric in record]
            row += _change(having, metric) if having else ["", "", ""]
        rows.append(row)
    note = (
        "± one standard error over problems. Both validations have the same problems, so their difference is less "
        f"uncertain than that. First: step {validations[0]['step']}; last: step {validations[-1]['step']}, or when a "
        "set was last run."
    )
    return Table("First and last validation", heads, rows, note, numbers_from=1)


def _change(having: Sequence[Record], metric: str) -> list[str]:
    first, last = having[0], having[-1]
    return [with_error(first, metric), with_error(last, metric), f"{last[metric] - first[metric]:+.3f}"]


def with_error(record: Record, metric: str) -> str:
    """
    >>> with_error({"a": 0.5, "a_standard_error": 0.02}, "a"), with_error({"a": 0.5}, "a")
    ('0.500 ± 0.020', '0.500')
    """
    error = record.get(f"{metric}_standard_error")
    return f"{record[metric]:.3f}" + ("" if error is None else f" ± {error:.3f}")
