"""Problems that reasoning-gym makes, once and for all: for training and for validation (ProRL, Appendix D.4).

Each task's problems are drawn under two seeds that lie a million apart in the library's own numbering, since
neighbouring seeds share their items. What comes twice is left out, and what is drawn for both goes to validation alone.
A task that hasn't enough different problems shares out what it has between the two, in the proportion asked for.
"""

from __future__ import annotations

import logging
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from nemo_prorl.data.prepare.base import JSON, SPLIT, TRAINING, Card, Record
from nemo_prorl.data.prepare.files import read_lines
from nemo_prorl.data.prepare.item_factory import ItemFactory, Job
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prompt import Row
from nemo_prorl.data.sources.base import question_key
from nemo_prorl.data.sources.reasoning_gym import Seed, row_of_entry
from nemo_prorl.data.sources.reasoning_gym_tasks import TRAINING_TASKS

log = logging.getLogger(__name__)

VALIDATION = "validation"
CHUNK_ITEMS = 100  # made by one process at a stretch
MOST_DRAWS = 4  # of a task, as a multiple of the problems wanted
PROGRESS_SECONDS = 10.0

PAPER_TASKS: dict[str, dict[str, Any]] = {task: {} for tasks in TRAINING_TASKS.values() for task in tasks}


class ReasoningGymProblems:
    """The paper's 37k problems for training and 100 a task for validation, by default of its 96 tasks.

    Knobs: `tasks` as those of the source `reasoning_gym`, without weights: each gets the same share;
    `instruction` follows every question, `system_prompt` comes before it; `scorer` as for that source.
    """

    card = Card(
        title="reasoning-gym",
        domain="logic",
        licence="Apache-2.0",
        paper_problems=37_000,
    )

    def __init__(
        self,
        *,
        tasks: dict[str, dict[str, Any]] = PAPER_TASKS,
        training_problems: Annotated[int, Field(ge=1)] = 37_000,
        validation_problems_per_task: Annotated[int, Field(ge=1)] = 100,
        training_seed: Seed = 0,
        validation_seed: Seed = 1000,
        instruction: str | None = "Think step by step and give the final answer within <answer> </answer> tags.",
        system_prompt: str | None = None,
        scorer: Literal["strict", "upstream"] = "strict",
    ) -> None:
        share, left = divmod(training_problems, len(tasks))
        self._quotas = {
            task: {VALIDATION: validation_problems_per_task, TRAINING: share + (number < left)}
            for number, task in enumerate(tasks)
        }
        self._tasks = tasks
        self._seeds = {TRAINING: training_seed, VALIDATION: validation_seed}
        self._instruction, self._system_prompt, self._scorer = instruction, system_prompt, scorer

    def records(self, work: Path, processes: int) -> MadeItems:
        """Where the problems come from; `work` is a folder for what is made, so that it isn't made again."""
        tasks = [
            Task(
                name, str(knobs.get("name", name)), {k: v for k, v in knobs.items() if k != "name"}, self._quotas[name]
            )
            for name, knobs in self._tasks.items()
        ]
        return MadeItems(tasks, self._seeds, work, processes)

    def convert(self, record: Record) -> Row | Rejection:
        """{"task", "dataset", "settings", "split", "entry"}; an entry that couldn't be made is rejected."""
        if "failed" in record["entry"]:
            reason, _, detail = record["entry"]["failed"].partition(":")
            return Rejection(reason, f"{record['task']}:{detail}")
        return row_of_entry(
            record["entry"],
            task=record["task"],
            dataset=record["dataset"],
            settings=record["settings"],
            source="reasoning_gym",
            instruction=self._instruction,
            system_prompt=self._system_prompt,
            scorer=self._scorer,
            metadata={SPLIT: record["split"]},
        )


@dataclass(frozen=True)
class Task:
    """A task's data set and settings, and how many problems of it each split should have."""

    name: str
    dataset: str
    settings: Mapping[str, Any]
    quota: Mapping[str, int]


@dataclass
class Draws:
    """What was drawn of a task: entries as they were made, by split and question, and what was left out."""

    chunks: dict[str, int] = field(default_factory=lambda: {VALIDATION: 0, TRAINING: 0})  # read so far
    entries: dict[str, dict[str, Any]] = field(default_factory=lambda: {VALIDATION: {}, TRAINING: {}})
    failed: list[dict[str, Any]] = field(default_factory=list)
    drawn: int = 0
    repeated: int = 0

    def leaks(self) -> int:
        """Different problems that were drawn for both."""
        return len(self.entries[VALIDATION].keys() & self.entries[TRAINING].keys())

    def add(self, split: str, entry: dict[str, Any]) -> None:
        if "failed" in entry:
            self.failed.append(entry)
            return
        self.drawn += 1
        key = question_key(entry["question"])
        self.repeated += key in self.entries[split]
        self.entries[split].setdefault(key, entry)


class MadeItems:
    """Entries of reasoning-gym, made in processes when they are first asked for; see `Records`."""

    def __init__(self, tasks: list[Task], seeds: Mapping[str, int], work: Path, processes: int) -> None:
        self._tasks, self._seeds, self._work, self._processes = tasks, seeds, work.absolute(), processes
        self._draws = {task.name: Draws() for task in tasks}
        self._report: dict[str, Any] = {}

    @property
    def origin(self) -> JSON:
        # The release of Python too: its random module may draw otherwise in another one.
        return {"reasoning_gym": version("reasoning_gym"), "python": ".".join(platform.python_version_tuple()[:2])}

    def start(self, position: JSON) -> Iterator[tuple[Record | Rejection, Callable[[], JSON]]]:
        self._make()
        for number, record in enumerate(self._records(), start=1):
            if number > (position or 0):
                yield record, lambda number=number: number  # type: ignore[misc]

    def findings(self) -> JSON:
        """By task: problems of each split, and what became of the rest."""
        return self._report

    def _records(self) -> Iterator[Record]:
        splits = {task.name: shared_out(self._draws[task.name].entries, task.quota) for task in self._tasks}
        # Tasks of one data set may ask the same: validation has it before training, and an earlier task before others.
        seen: set[str] = set()
        for split in (VALIDATION, TRAINING):
            for task in self._tasks:
                found = splits[task.name][split]
                splits[task.name][split] = {key: entry for key, entry in found.items() if key not in seen}
                seen.update(found)
        for task in self._tasks:
            draws, found = self._draws[task.name], splits[task.name]
            self._report[task.name] = {
                **{split: len(entries) for split, entries in found.items()},
                "wanted": sum(task.quota.values()),
                "drawn": draws.drawn,
                "repeated": draws.repeated,
                "drawn_for_both": draws.leaks(),
                "failed": len(draws.failed),
            }
            common = {"task": task.name, "dataset": task.dataset, "settings": dict(task.settings)}
            for split, entries in found.items():
                yield from ({**common, SPLIT: split, "entry": entry} for entry in entries.values())
            yield from ({**common, SPLIT: TRAINING, "entry": entry} for entry in draws.failed)

    def _make(self) -> None:
        """Draw until each task has enough different problems, or has been drawn from often enough."""
        progress = _Progress()
        with ItemFactory(self._processes) as factory:
            while jobs := [job for task in self._tasks for job in self._missing(task)]:
                unmade = [job for job in jobs if not Path(job.path).exists()]
                progress.expect(len(unmade) * CHUNK_ITEMS)
                factory.make(unmade, progress.done)
                for task in self._tasks:
                    self._read(task)

    def _missing(self, task: Task) -> Iterator[Job]:
        """The chunks that are to be drawn next."""
        draws = self._draws[task.name]
        for split, wanted in task.quota.items():
            others = draws.entries[VALIDATION].keys() if split == TRAINING else set()
            short = wanted - len(draws.entries[split].keys() - others)
            begun = draws.chunks[split]
            most = -(-MOST_DRAWS * wanted // CHUNK_ITEMS)
            for chunk in range(begun, min(begun + -(-max(short, 0) // CHUNK_ITEMS), most)):
                yield Job(
                    task.dataset,
                    dict(task.settings),
                    self._seeds[split],
                    chunk * CHUNK_ITEMS,
                    CHUNK_ITEMS,
                    str(self._chunk(task, split, chunk)),
                )

    def _read(self, task: Task) -> None:
        draws = self._draws[task.name]
        for split in task.quota:
            while (path := self._chunk(task, split, draws.chunks[split])).exists():
                for entry in read_lines(path):
                    draws.add(split, entry)
                draws.chunks[split] += 1

    def _chunk(self, task: Task, split: str, number: int) -> Path:
        return self._work / "items" / f"{task.name}.{split}.{number:03d}.jsonl"


def shared_out(drawn: Mapping[str, Mapping[str, Any]], quota: Mapping[str, int]) -> dict[str, dict[str, Any]]:
    """Entries for each split by question, none for both; `drawn` has them so.

    Validation has its quota first. Where too few are left for training, both share all there are in proportion to
    their quotas, those with the smallest keys for validation.

    >>> shared_out({"validation": {"a": 1, "b": 2}, "training": {"b": 2, "c": 3}}, {"validation": 1, "training": 1})
    {'validation': {'a': 1}, 'training': {'b': 2}}
    """
    validation = dict(islice(drawn[VALIDATION].items(), quota[VALIDATION]))
    training = {key: entry for key, entry in drawn[TRAINING].items() if key not in validation}
    if len(validation) < quota[VALIDATION] or len(training) < quota[TRAINING]:
        everything = {**drawn[VALIDATION], **drawn[TRAINING]}
        share = min(quota[VALIDATION], len(everything) * quota[VALIDATION] // sum(quota.values()))
        chosen = set(sorted(everything)[:share])
        validation = {key: entry for key, entry in everything.items() if key in chosen}
        training = {key: entry for key, entry in everything.items() if key not in chosen}
    return {VALIDATION: validation, TRAINING: dict(islice(training.items(), quota[TRAINING]))}


class _Progress:
    def __init__(self) -> None:
        self._begun = self._told = time.monotonic()
        self._made = self._expected = 0

    def expect(self, items: int) -> None:
        self._expected += items

    def done(self, job: Job) -> None:
        self._made += job.count
        now = time.monotonic()
        if now - self._told > PROGRESS_SECONDS or self._made == self._expected:
            self._told = now
            left = (self._expected - self._made) * (now - self._begun) / self._made
            log.info(
                "reasoning_gym: %s of %s items made, the last of %s; about %.0f s left",
                *(f"{self._made:,}", f"{self._expected:,}", job.dataset, left),
            )
