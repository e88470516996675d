"""What a run's page tells, as plain data: facts, curves, charts, tables. The page's own script draws it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from statistics import fmean
from typing import Any

from nemo_prorl.analysis.history import ks_of
from nemo_prorl.analysis.packed import column
from nemo_prorl.analysis.panels import (
    SECTIONS_OF_STEPS,
    TOKENS_PER_SECOND,
    Of,
    Panel,
    Section,
    dynamics,
    line,
    shown_metrics,
)
from nemo_prorl.analysis.run_record import Record, RunRecord
from nemo_prorl.analysis.tables import duration, event_tables
from nemo_prorl.analysis.validation_section import change_table, panels_by_place, with_error
from nemo_prorl.data.prompt import DOMAINS
from nemo_prorl.telemetry.attempts import STALE_SECONDS
from nemo_prorl.telemetry.status import ENDS
from nemo_prorl.telemetry.watch import KINDS

NOT_CURVES = {"step", "kind", "note", "name", "time/unix_seconds"}


def story_of(run: RunRecord, *, more: Sequence[Mapping[str, Any]] = (), now: float | None = None) -> dict[str, Any]:
    """The whole page but its samples. `more`: sections to put after that of validation, made like `section_json`'s."""
    now = time.time() if now is None else now
    curves = {"steps": _columns(_derived(run.steps)), "validation": _columns(run.validations)}
    known: set[tuple[Of, str]] = {("steps", name) for name in curves["steps"]["y"]}
    known |= {("validation", name) for name in curves["validation"]["y"]}
    ks = ks_of(run.validations)
    sections = [dynamics(ks), *SECTIONS_OF_STEPS]
    told: list[Mapping[str, Any]] = [section_json(section, known) for section in sections]
    rest = sorted(set(curves["steps"]["y"]) - shown_metrics(sections))
    told.insert(2, _validation(run, ks, known))
    told[3:3] = more
    told += [_events(run), _rest(rest, known)]
    return {
        "folder": str(run.folder),
        "made_unix_seconds": now,
        "state": state_of(run.status, now),
        "facts": _facts(run, ks),
        "stages": [list(span) for span in run.stages],
        "resets": [[record["step"], str(record.get("note", ""))] for record in run.events.get("reset", ())],
        "restarts": [[one.first_step, one.number] for one in run.attempts[1:] if one.first_step is not None],
        "alarms": [_alarm(record) for record in run.events.get("alarm", ())],
        "curves": curves,
        "sections": [one for one in told if any(one.get(part) for part in ("panels", "plots", "tables", "folded"))],
        "settings": run.settings,
    }


def section_json(section: Section, known: set[tuple[Of, str]]) -> dict[str, Any]:
    """A section without the charts that there are no data for."""
    panels = [panel for one in section.panels if (panel := one.within(known))]
    return {
        "id": section.id,
        "title": section.title,
        "short": section.short,
        "lead": section.lead,
        "wide": section.wide,
        "panels": [asdict(panel) for panel in panels],
    }


def state_of(status: Record, now: float) -> dict[str, Any]:
    """How the run stands: {"name", "detail", "step", "steps", "eta_unix_seconds"}; a dead one is told as lost."""
    name = str(status.get("state", "unknown"))
    idle = now - float(status.get("heartbeat_unix_seconds", now))
    detail = str(status.get("reason") or status.get("phase") or "")
    if name not in (*ENDS, "unknown") and idle > STALE_SECONDS:
        name, detail = "lost", f"no sign of life for {duration(idle)}"
    shown = {key: status.get(key) for key in ("step", "steps", "stage")}
    eta = status.get("eta_unix_seconds") if name == "running" else None
    return {"name": name, "detail": detail, **shown, "eta_unix_seconds": eta}


def _columns(records: Sequence[Record]) -> dict[str, Any]:
    """Every metric over steps; where a record lacks it, None."""
    names = sorted({name for record in records for name in record} - NOT_CURVES)
    names = [name for name in names if any(isinstance(record.get(name), int | float) for record in records)]
    return {
        "x": [record["step"] for record in records],
        "y": {name: column(record.get(name) for record in records) for name in names},
    }


def _derived(steps: Sequence[Record]) -> list[dict[str, Any]]:
    """With what can be computed from other metrics of the same step."""
    derived = []
    for record in steps:
        judged = sum(record.get(f"verifier/{domain}/verdicts", 0) for domain in DOMAINS)
        length, seconds = record.get("rollout/response_tokens_mean"), record.get("time/step_seconds")
        known = judged and length is not None and seconds
        derived.append({**record, TOKENS_PER_SECOND: judged * length / seconds} if known else dict(record))
    return derived


def _validation(run: RunRecord, ks: Sequence[int], known: set[tuple[Of, str]]) -> dict[str, Any]:
    groups, tasks = panels_by_place(run.validations, ks)
    lead = "Problems that training never sees, answered as the paper's evaluation does it."
    section = section_json(Section("validation", "Validation", "Validation", lead, groups), known)
    table = change_table(run.validations, ks)
    if table is not None:
        section["tables"] = [table.as_json()]
    if tasks:
        panels = [asdict(panel) for one in tasks if (panel := one.within(known))]
        section["folded"] = [{"title": f"By task ({len(panels)})", "panels": panels, "open": len(panels) <= 6}]
    return section


def _events(run: RunRecord) -> dict[str, Any]:
    tables = [table.as_json() for table in event_tables(run)]
    return {"id": "events", "title": "Events", "short": "Events", "lead": "", "tables": tables}


def _rest(metrics: Sequence[str], known: set[tuple[Of, str]]) -> dict[str, Any]:
    """Everything else that steps recorded, a fold for each part of the trainer."""
    groups: dict[str, list[Panel]] = {}
    for metric in metrics:
        panel = Panel(metric, "", [line(metric.rpartition("/")[2], metric)], bottom=None).within(known)
        if panel:
            groups.setdefault(metric.partition("/")[0], []).append(panel)
    folds = [
        {"title": f"{name} ({len(panels)})", "panels": [asdict(panel) for panel in panels]}
        for name, panels in groups.items()
    ]
    lead = "Every other metric of the run's record. docs/metrics.md says what each means."
    return {"id": "rest", "title": "Everything else", "short": "More", "lead": lead, "folded": folds}


def _attempts(number: int) -> str:
    return "in one attempt" if number == 1 else f"in {number} attempts"


def _alarm(record: Record) -> list[Any]:
    name = str(record.get("name", ""))
    return [record["step"], name, KINDS[name].metric if name in KINDS else ""]


def _facts(run: RunRecord, ks: Sequence[int]) -> list[list[str]]:
    """(what, how much, beside what), for the head of the page."""
    facts = []
    measures = {f"pass@{k}": f"pass_at_{k}" for k in dict.fromkeys([ks[0], ks[-1]])} if ks else {"score": "score"}
    for label, measure in measures.items():
        metric = f"validation/all/{measure}"
        having = [record for record in run.validations if metric in record]
        if having:
            best = max(having, key=lambda record: record[metric])
            note = f"{having[0][metric]:.3f} at step {having[0]['step']}; best {best[metric]:.3f} at {best['step']}"
            facts.append([f"held-out {label}", with_error(having[-1], metric), note])
    for label, metric, form in (
        ("training reward", "reward/sampled_mean", ".3f"),
        ("entropy", "policy/entropy", ".3f"),
        ("KL to the reference", "kl/reference", ".4f"),
        ("response length", "rollout/response_tokens_mean", ",.0f"),
    ):
        values = [record[metric] for record in run.steps if metric in record]
        if values:
            last = values[-10:]
            facts.append([label, f"{fmean(last):{form}}", f"mean of {len(last)} steps; {values[0]:{form}} at first"])
    resets, alarms = (len(run.events.get(kind, ())) for kind in ("reset", "alarm"))
    facts.append(["resets", str(resets), "of reference and optimizer"])
    facts.append(["alarms", str(alarms), "see Events" if alarms else "none was raised"])
    facts.append(["time in steps", duration(run.seconds), _attempts(len(run.attempts) or 1)])
    return facts
