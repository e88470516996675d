"""Tables of a run's page: what happened, and when."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nemo_prorl.analysis.run_record import AttemptTold, RunRecord


@dataclass(frozen=True)
class Table:
    """`numbers_from`: the first column that is set as numbers. A cell is text, as it is to be read."""

    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    numbers_from: int | None = None

    def as_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "heads": list(self.heads),
            "rows": [list(row) for row in self.rows],
            "note": self.note,
            "numbers_from": len(self.heads) if self.numbers_from is None else self.numbers_from,
        }


def event_tables(run: RunRecord) -> list[Table]:
    """Alarms, resets, stages and attempts, as far as there were any."""
    return [table for table in (alarm_table(run), reset_table(run), stage_table(run), attempt_table(run)) if table]


def alarm_table(run: RunRecord) -> Table | None:
    rows = []
    for record in run.events.get("alarm", ()):
        name = str(record.get("name", ""))
        value, limit = (record.get(f"alarm/{name}/{what}") for what in ("value", "limit"))
        rows.append([str(record["step"]), name, _number(value), _number(limit), str(record.get("note", ""))])
    return Table("Alarms", ["step", "alarm", "value", "limit", "advice"], rows) if rows else None


def reset_table(run: RunRecord) -> Table | None:
    """Why, and what reward, entropy and score were some steps before the reset and some steps after it."""
    effects = {int(r["reset_effect/reset_at_step"]): r for r in run.events.get("reset_effect", ())}
    rows = []
    for record in run.events.get("reset", ()):
        effect = effects.get(record["step"], {})
        changes = [
            " → ".join(_number(effect.get(f"reset_effect/{what}_{when}")) for when in ("before", "after"))
            if f"reset_effect/{what}_after" in effect
            else ""
            for what in ("reward", "entropy", "score")
        ]
        rows.append(
            [str(record["step"]), str(record.get("note", "")), _number(record.get("reset/kl_before")), *changes]
        )
    heads = ["step", "reason", "KL before", "reward before → after", "entropy", "score"]
    return Table("Resets of reference and optimizer", heads, rows) if rows else None


def stage_table(run: RunRecord) -> Table | None:
    ends = {record["step"]: str(record.get("note", "")) for record in run.events.get("stage", ())}
    rows = [
        [span.name, f"{span.first} to {span.last}", str(span.last - span.first + 1), ends.get(span.last, "")]
        for span in run.stages
    ]
    return Table("Stages", ["stage", "steps", "number", "how it ended"], rows) if len(rows) > 1 else None


def attempt_table(run: RunRecord) -> Table | None:
    rows = [_attempt(told) for told in run.attempts]
    heads = ["attempt", "host", "began", "took", "first step that counts", "how it ended"]
    return (
        Table("Attempts", heads, rows, "Every start of the command is one; each goes on where the last was saved.")
        if rows
        else None
    )


def _attempt(told: AttemptTold) -> list[str]:
    record: Mapping[str, Any] = told.record
    start, end = record.get("started_unix_seconds"), record.get("ended_unix_seconds")
    first = "none" if told.first_step is None else str(told.first_step)
    ended = ": ".join(str(part) for part in (record.get("state"), record.get("reason")) if part)
    took = "" if start is None or end is None else duration(end - start)
    return [str(told.number), str(record.get("host", "")), moment(start), took, first, ended]


def moment(unix_seconds: float | None) -> str:
    """In UTC, so that hosts agree.

    >>> moment(0.0)
    '1970-01-01 00:00 UTC'
    """
    return "" if unix_seconds is None else time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(unix_seconds))


def duration(seconds: float) -> str:
    """
    >>> duration(42.4), duration(600), duration(7260), duration(360000)
    ('42 s', '10 min', '2 h 1 min', '4 d 4 h')
    """
    minutes = round(seconds / 60)
    if minutes < 2:
        return f"{seconds:.0f} s"
    if minutes < 60:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}"
