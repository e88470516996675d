"""Metrics of a step, and where they go: metrics.jsonl always, TensorBoard by default, Weights & Biases when asked."""

from __future__ import annotations

import logging
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import yaml

from nemo_prorl.algorithm.reduction import Max, Mean, Metric, Min, merge
from nemo_prorl.config.kept import TelemetryConfig
from nemo_prorl.data.trajectory import Group
from nemo_prorl.errors import TrainingError
from nemo_prorl.telemetry.records import METRICS_FILE, SAMPLES_FILE, VALIDATION_SAMPLES_FILE, RecordFile
from nemo_prorl.telemetry.run_folder import opened, written
from nemo_prorl.telemetry.sinks import Sink, check_installed, open_sinks

log = logging.getLogger(__name__)

Kind = Literal["train", "validation", "reset", "reset_effect", "stage", "alarm", "rewind", "sft"]


class StepMetrics:
    """Gathers what the parts of a step report.

    Means, maxima and minima add up over the updates of the step; of plain numbers the last one stays.
    """

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        self._numbers: dict[str, float] = {}

    def add(self, values: Mapping[str, Metric | float]) -> StepMetrics:
        """Take in `values`; returns itself."""
        metrics = {name: value for name, value in values.items() if isinstance(value, Mean | Max | Min)}
        self._metrics = merge(self._metrics, metrics)
        self._numbers.update({name: float(v) for name, v in values.items() if not isinstance(v, Mean | Max | Min)})
        return self

    def keep_first(self, values: Mapping[str, Metric | float], names: Iterable[str]) -> StepMetrics:
        """Of `names`, also keep the first value ever given, as <name>_first_update; returns itself."""
        for name in names:
            if name in values:
                value = values[name]
                number = value.value if isinstance(value, Mean | Max | Min) else value
                self._numbers.setdefault(f"{name}_first_update", number)
        return self

    def values(self) -> dict[str, float]:
        """Everything as numbers, in order of name."""
        everything = self._numbers | {name: metric.value for name, metric in self._metrics.items()}
        return dict(sorted(everything.items()))


class MetricsLog:
    """The run's record. Only the main rank writes; every rank may call everything.

    metrics.jsonl  {"step", "kind": see Kind, "name" and "note" if any, "time/unix_seconds", metrics ...}; what they
                   mean is in docs/metrics.md
    samples.jsonl  a few completions of each step, with reward and outcome
    validation_samples.jsonl   the same of each validation set
    config.yaml    the resolved configuration
    """

    def __init__(self, run_dir: Path, config: TelemetryConfig, *, is_main: bool, resolved: Mapping[str, Any]) -> None:
        check_installed(config)
        self._run_dir, self._config, self._is_main, self._resolved = run_dir, config, is_main, resolved
        self._records, self._samples = RecordFile(run_dir / METRICS_FILE), RecordFile(run_dir / SAMPLES_FILE)
        self._validated = RecordFile(run_dir / VALIDATION_SAMPLES_FILE)
        self._sinks: Sequence[Sink] = ()

    def resume(self, step: int | None, *, boundary_is_done: bool = True) -> None:
        """Begin writing after `step`, forgetting what was written later; None begins a new record.

        Unless `boundary_is_done`, what was written at `step` after the step itself (its validation, a reset) is
        forgotten, too: it will come again.

        Raises:
            ConfigError: run.dir can't be used.
            RunFolderError: a record that is there can't be written to.
        """
        if not self._is_main:
            return
        with opened(self._run_dir):
            self._run_dir.mkdir(parents=True, exist_ok=True)
            _write_config(self._run_dir / "config.yaml", self._resolved)
        self._records.resume(step, boundary_is_done=boundary_is_done)
        self._samples.resume(step)
        self._validated.resume(step if step is None or boundary_is_done else step - 1)
        first_step = 0 if step is None else step + 1
        with opened(self._run_dir):
            for sink in self._sinks:
                sink.go_back(first_step)
            self._sinks = self._sinks or open_sinks(self._run_dir, self._config, self._resolved, first_step=first_step)

    def write(
        self,
        step: int,
        values: Mapping[str, float],
        kind: Kind = "train",
        note: str | None = None,
        name: str | None = None,
    ) -> None:
        """One record; `note` is text for the reader: the stage's name, the reason of a reset, an alarm's advice.

        `name` tells apart what is of one kind: the alarm's name.

        Raises:
            TrainingError: a value is not a finite number.
            RunFolderError: it can't be written, on the main rank.
        """
        numbers = {name: _finite(step, name, value) for name, value in values.items()}
        if not self._is_main:
            return
        head: dict[str, Any] = {"step": step, "kind": kind}
        head |= {key: text for key, text in (("name", name), ("note", note)) if text is not None}
        self._records.append({**head, "time/unix_seconds": time.time(), **numbers})
        for sink in self._sinks:
            with written(sink.place):
                sink.write(step, numbers)

    def examples(self, step: int, groups: Sequence[Group]) -> None:
        """The step's first completions, one of each group in turn, as many as telemetry.samples_per_step says."""
        if self._is_main:
            for record in islice(_sample_records(groups), self._config.samples_per_step):
                self._samples.append({"step": step, **record})

    def validation_examples(self, step: int, groups_of_sets: Mapping[str, Sequence[Group]]) -> None:
        """Of each validation set some completions, as many as telemetry.samples_per_validation_set says."""
        if self._is_main:
            for name, groups in groups_of_sets.items():
                for record in islice(_sample_records(groups), self._config.samples_per_validation_set):
                    self._validated.append({"step": step, "set": name, **record})

    def close(self) -> None:
        self._records.close()
        self._samples.close()
        self._validated.close()
        self._close_sinks()

    def _close_sinks(self) -> None:
        for sink in self._sinks:
            try:
                sink.close()
            except Exception as error:  # nothing depends on it, and it must not hide why the run ends
                log.warning("the last metrics may be missing in %s: %s", sink.place, error)
        self._sinks = ()

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def _finite(step: int, name: str, value: float) -> float | int:
    """`value` as a plain number; whole numbers stay whole."""
    if not math.isfinite(value):
        raise TrainingError(
            f"metric {name!r} at step {step} is {value}; metrics are finite numbers. Look at the steps before it in "
            f"{METRICS_FILE} (entropy, KL, grad_norm) and at the last checkpoint; a smaller optimizer.lr often helps"
        )
    return int(value) if isinstance(value, int) else float(value)


def _sample_records(groups: Sequence[Group]) -> Iterable[dict[str, Any]]:
    for number in range(max((len(group.completions) for group in groups), default=0)):
        for group in groups:
            if number < len(group.completions):
                yield _sample_record(group, number)


def _sample_record(group: Group, number: int) -> dict[str, Any]:
    prompt, completion, verdict = group.prompt, group.completions[number], group.verdicts[number]
    return {
        "uid": prompt.uid,
        "domain": prompt.domain,
        "task": prompt.task,
        "prompt": "\n".join(message["content"] for message in prompt.messages),
        "response": completion.text,
        "reward": verdict.reward,
        "shaped_reward": group.shaped_rewards[number],
        "outcome": verdict.outcome,
        "reason": verdict.reason,
        "finish_reason": completion.finish_reason,
        "prompt_tokens": len(prompt.token_ids),
        "response_tokens": len(completion.token_ids),
    }


def _write_config(path: Path, resolved: Mapping[str, Any]) -> None:
    partial = path.with_name(path.name + ".partial")
    partial.write_text(yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True), encoding="utf-8")
    os.replace(partial, path)
