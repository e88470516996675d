"""A run as its records tell it: curves over steps, resets, and held-out scores before and after."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from nemo_prorl.errors import DataError
from nemo_prorl.evaluation.estimate import OVERALL
from nemo_prorl.telemetry.records import METRICS_FILE, read_records

PASS_AT_K = re.compile(r"validation/(?!sets/|domains/)(?P<task>.+)/pass_at_(?P<k>\d+)")

Curve = Sequence[tuple[int, float]]  # (step, value)


@dataclass(frozen=True)
class Reset:
    step: int
    reason: str


@dataclass(frozen=True)
class RunHistory:
    """One run's records, in the order of steps. `name` is what tables and legends call it."""

    name: str
    train: Sequence[Mapping[str, Any]]
    validations: Sequence[Mapping[str, Any]]
    resets: Sequence[Reset]

    @classmethod
    def read(cls, folder: Path, name: str) -> RunHistory:
        """From `folder`/metrics.jsonl.

        Raises:
            DataError: the file is missing, or no training step is in it.
        """
        records = read_records(folder / METRICS_FILE)
        by_kind = {kind: [r for r in records if r["kind"] == kind] for kind in ("train", "validation", "reset")}
        if not by_kind["train"]:
            raise DataError(
                f"{folder / METRICS_FILE} holds no training step; is {folder} the folder of a run (run.dir)?"
            )
        resets = [Reset(r["step"], r.get("note", "")) for r in by_kind["reset"]]
        return cls(name, by_kind["train"], by_kind["validation"], resets)

    def curve(self, metric: str) -> Curve:
        """A training metric over steps; steps that don't have it are left out."""
        return [(record["step"], record[metric]) for record in self.train if metric in record]

    def validation_curve(self, metric: str) -> Curve:
        """A validation metric over steps."""
        return [(record["step"], record[metric]) for record in self.validations if metric in record]

    @property
    def tasks(self) -> list[str]:
        """Tasks that were validated, in order of name, without the one that stands for all."""
        found = {
            match["task"] for record in self.validations for name in record if (match := PASS_AT_K.fullmatch(name))
        }
        return sorted(found - {OVERALL})

    @property
    def ks(self) -> list[int]:
        return ks_of(self.validations)


@dataclass(frozen=True)
class Change:
    """A score at the first and at the last validation of each of several runs."""

    before: Sequence[float]
    after: Sequence[float]

    @classmethod
    def of(cls, runs: Sequence[RunHistory], task: str, k: int) -> Change:
        """pass@k of a task.

        Raises:
            DataError: a run hasn't validated it twice.
        """
        metric = f"validation/{task}/pass_at_{k}"
        curves = [run.validation_curve(metric) for run in runs]
        for run, curve in zip(runs, curves, strict=True):
            if len(curve) < 2:
                raise DataError(f"run {run.name!r} has {len(curve)} records of {metric}; before and after need two")
        return cls([curve[0][1] for curve in curves], [curve[-1][1] for curve in curves])

    @property
    def gains(self) -> list[float]:
        return [after - before for before, after in zip(self.before, self.after, strict=True)]


def ks_of(validations: Sequence[Mapping[str, Any]]) -> list[int]:
    """The k of every pass@k that was validated, in order."""
    matches = [PASS_AT_K.fullmatch(name) for record in validations for name in record]
    return sorted({int(match["k"]) for match in matches if match})


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """The mean over runs at the steps that all of them have."""
    tables = [dict(curve) for curve in curves]
    shared = sorted(set.intersection(*(set(table) for table in tables))) if tables else []
    return [(step, fmean(table[step] for table in tables)) for step in shared]
