"""Evaluation problems that reasoning-gym makes, in processes of their own, where each comes out the same every time."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nemo_prorl.data.benchmarks.sets import GeneratedSet
from nemo_prorl.data.prepare.files import read_lines
from nemo_prorl.data.prepare.item_factory import ItemFactory, Job
from nemo_prorl.data.prompt import Row
from nemo_prorl.data.sources.base import question_key
from nemo_prorl.data.sources.reasoning_gym import row_of_entry

log = logging.getLogger(__name__)

SPARE = 0.3  # items made beyond those wanted, as a share of them: some come twice


def made_rows(
    name: str,
    chosen: GeneratedSet,
    problems: int | None,
    instruction: str | None,
    system_prompt: str | None,
    processes: int,
) -> Iterator[Row]:
    """So many different problems of each task, 100 by default; fewer of a task that hasn't as many, which is told."""
    wanted = problems or chosen.problems_per_task
    with TemporaryDirectory(prefix="prorl-evaluation-") as folder:
        jobs = _jobs(chosen, wanted, Path(folder))
        names = {job.path: task for task, job in jobs.items()}
        made: list[str] = []

        def done(job: Job) -> None:
            made.append(names[job.path])
            log.info("evaluation set %s: %s is made, %d of %d tasks", name, made[-1], len(made), len(jobs))

        with ItemFactory(processes) as factory:
            factory.make(list(jobs.values()), done)
        for task, job in jobs.items():
            entries = _different(job, wanted)
            if len(entries) < wanted:
                log.warning("evaluation set %s: only %d different problems of %s", name, len(entries), task)
            for entry in entries:
                yield row_of_entry(
                    entry,
                    task=task,
                    dataset=job.dataset,
                    settings=job.settings,
                    source=name,
                    instruction=instruction,
                    system_prompt=system_prompt,
                    scorer="strict",
                )


def _jobs(chosen: GeneratedSet, wanted: int, folder: Path) -> dict[str, Job]:
    """What is to be made of each task; its file in `folder`."""
    return {
        task: Job(
            str(knobs.get("name", task)),
            {key: value for key, value in knobs.items() if key != "name"},
            chosen.seed,
            0,
            wanted + max(4, int(wanted * SPARE)),
            str(folder / f"{number}.jsonl"),
        )
        for number, (task, knobs) in enumerate(chosen.tasks.items())
    }


def _different(job: Job, wanted: int) -> list[Mapping[str, Any]]:
    """The first so many entries whose questions differ."""
    entries: dict[str, Mapping[str, Any]] = {}
    for entry in read_lines(Path(job.path)):
        if "failed" not in entry:
            entries.setdefault(question_key(entry["question"]), entry)
    return list(entries.values())[:wanted]
