"""All that a run's folder tells of it, finished or live."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from nemo_prorl.errors import DataError
from nemo_prorl.telemetry.attempts import ATTEMPTS, RECORD_FILE
from nemo_prorl.telemetry.records import METRICS_FILE, each_record
from nemo_prorl.telemetry.status import STATUS_FILE, read_status

Record = Mapping[str, Any]


class Span(NamedTuple):
    """The steps of a stage, both ends included."""

    name: str
    first: int
    last: int


class AttemptTold(NamedTuple):
    """A start of the command. `first_step`: the first of its steps that still counts; None: there is none."""

    number: int
    record: Record
    first_step: int | None


@dataclass(frozen=True)
class RunRecord:
    """`steps` are the records of training steps (kinds train and sft); `events` the others, by kind."""

    folder: Path
    steps: Sequence[Record]
    events: Mapping[str, Sequence[Record]] = field(default_factory=dict)
    status: Record = field(default_factory=dict)
    attempts: Sequence[AttemptTold] = ()
    settings: str = ""  # config.yaml

    @classmethod
    def read(cls, folder: Path) -> RunRecord:
        """
        Raises:
            DataError: it is no run's folder: neither metrics.jsonl nor status.json is there.
        """
        if not (folder / METRICS_FILE).is_file() and not (folder / STATUS_FILE).is_file():
            raise DataError(
                f"{folder} is not the folder of a run: it has neither {METRICS_FILE} nor {STATUS_FILE}. Give the "
                "run.dir that `prorl train` was started with"
            )
        by_kind: dict[str, list[Record]] = defaultdict(list)
        for record in each_record(folder / METRICS_FILE):
            by_kind[record.get("kind", "train")].append(record)
        steps = sorted(by_kind.pop("train", []) + by_kind.pop("sft", []), key=lambda record: record["step"])
        config = folder / "config.yaml"
        return cls(
            folder,
            steps,
            by_kind,
            read_status(folder),
            _attempts(folder, steps),
            config.read_text(encoding="utf-8", errors="replace") if config.is_file() else "",
        )

    @property
    def validations(self) -> Sequence[Record]:
        return self.events.get("validation", ())

    @property
    def stages(self) -> list[Span]:
        spans = []
        for name, records in groupby(self.steps, lambda record: str(record.get("note", ""))):
            steps = [record["step"] for record in records]
            spans.append(Span(name, steps[0], steps[-1]))
        return spans

    @property
    def seconds(self) -> float:
        """What the steps took, without what lay between them."""
        return float(sum(record.get("time/step_seconds", 0.0) for record in self.steps))


def _attempts(folder: Path, steps: Sequence[Record]) -> list[AttemptTold]:
    found = []
    for path in sorted((folder / ATTEMPTS).glob(f"*/{RECORD_FILE}")):
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            continue  # another process may be about to write it
        if path.parent.name.isdecimal() and isinstance(record, dict):
            found.append((int(path.parent.name), record))
    starts = [float(record.get("started_unix_seconds", 0.0)) for _, record in found] + [float("inf")]
    return [
        AttemptTold(number, record, _first_step(steps, starts[place], starts[place + 1]))
        for place, (number, record) in enumerate(found)
    ]


def _first_step(steps: Sequence[Record], start: float, end: float) -> int | None:
    """The first step that was recorded between two moments."""
    return next((record["step"] for record in steps if start <= record.get("time/unix_seconds", 0.0) < end), None)
