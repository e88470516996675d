"""Evaluation sets as sources of problems: read once, kept as a file, and the same from then on."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from difflib import get_close_matches
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from nemo_prorl.data.benchmarks.generated import made_rows
from nemo_prorl.data.benchmarks.sets import EVALUATION_SETS, GeneratedSet, PublishedSet
from nemo_prorl.data.kept import cache_folder, kept_whole
from nemo_prorl.data.prepare.base import Card
from nemo_prorl.data.prepare.files import as_line
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prepare.published import PublishedRecords, from_folder, from_hub
from nemo_prorl.data.prompt import Row
from nemo_prorl.data.sources.base import as_messages, digest, question_key
from nemo_prorl.data.sources.jsonl import JsonlSource
from nemo_prorl.errors import ConfigError, DataError

log = logging.getLogger(__name__)

READING = 2  # raised when records are read otherwise, so that no file of an older reading is taken
AS_THE_SET_SAYS = "as the set says"

Date = Annotated[str, Field(pattern=r"^(\d{4}-\d{2}-\d{2})?$")]  # "": none


class EvaluationSource(JsonlSource):
    """An evaluation set by its name among `sets.EVALUATION_SETS`, for `data.held_out`.

    Its problems are read from the hub, or from downloaded files in `folder`, or made, once. They are kept in `cache`
    (the user's cache folder by default) and read from there ever after, also without network; other settings have
    other files.

    Knobs: `revision` on the hub, `files` there or in `folder`: those of the set by default; `problems`: only the first
    so many of each task; `since` and `until`, dates of contests as YYYY-MM-DD, the first one in and the last one out;
    `instruction` that follows every question, `system_prompt` that comes before it; `processes` that make problems.

    Raises:
        ConfigError: there is no set of that name, or one that is made here is to be read from somewhere.
        DataError: the set can't be read, or none of its records is a problem.
    """

    def __init__(
        self,
        name: str = "evaluation",
        *,
        set: str,
        folder: str | None = None,
        revision: str | None = None,
        files: str | None = None,
        problems: Annotated[int, Field(ge=1)] | None = None,
        since: Date = "",
        until: Date = "",
        instruction: str | None = AS_THE_SET_SAYS,
        system_prompt: str | None = None,
        processes: Annotated[int, Field(ge=1)] = 2,
        cache: str | None = None,
    ) -> None:
        chosen = _chosen(set, f"data source {name!r}, set")
        instruction = chosen.instruction if instruction == AS_THE_SET_SAYS else instruction
        look: dict[str, Any] = {"instruction": instruction, "system_prompt": system_prompt, "problems": problems}
        if isinstance(chosen, PublishedSet):
            look |= {"folder": _stamps(folder), "revision": revision or chosen.revision, "files": files}
            look |= {"since": since, "until": until}
        else:
            _refuse_reading(name, set, folder=folder, revision=revision, files=files, since=since, until=until)
            look |= {"tasks": chosen.tasks, "made_by": version("reasoning_gym")}
        kept = (
            Path(cache or cache_folder("evaluation"))
            / f"{set}-{digest(json.dumps([READING, look], sort_keys=True))}.jsonl"
        )
        if not kept.exists():
            if isinstance(chosen, PublishedSet):
                records = _records(chosen, folder, look["revision"], files)
                rows = _published(set, chosen, records, look)
            else:
                rows = made_rows(set, chosen, problems, instruction, system_prompt, processes)
            _keep(kept, rows, set)
        super().__init__(name, path=str(kept))


def _refuse_reading(name: str, set: str, **knobs: str | None) -> None:
    if given := [knob for knob, value in knobs.items() if value]:
        raise ConfigError(
            f"data source {name!r}: {', '.join(given)} say which records are read, but set={set!r} is made here; take "
            "them away"
        )


def _chosen(name: str, setting: str) -> PublishedSet | GeneratedSet:
    if name not in EVALUATION_SETS:
        nearest = get_close_matches(name, EVALUATION_SETS, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        raise ConfigError(f"{setting}={name!r} is unknown.{hint} The sets are {', '.join(EVALUATION_SETS)}.")
    return EVALUATION_SETS[name]


def _records(chosen: PublishedSet, folder: str | None, revision: str | None, files: str | None) -> PublishedRecords:
    card = Card(chosen.title, chosen.domain, "", 0, hub=chosen.hub, split=chosen.split, files=chosen.files)
    if folder is not None:
        return from_folder(card, Path(folder), files)
    records = from_hub(card, revision, files)
    log.info("%s is read from %s", chosen.title, records.origin)
    return records


def _published(name: str, chosen: PublishedSet, records: PublishedRecords, look: dict[str, Any]) -> Iterator[Row]:
    """The set's problems in their order; what is left out is counted and told at the end."""
    left_out: Counter[str] = Counter()
    count = 0
    for record, _ in records.start(None):
        question = record if isinstance(record, Rejection) else chosen.read(record)
        if question is None:
            continue
        if isinstance(question, Rejection):
            left_out[question.reason] += 1
            continue
        if (look["since"] or look["until"]) and not question.date:
            left_out["without a date, which since and until ask for"] += 1
            continue
        if (look["since"] and question.date < look["since"]) or (look["until"] and question.date >= look["until"]):
            continue
        count += 1
        if look["problems"] is None or count <= look["problems"]:
            yield Row(
                uid=f"{name}-{question_key(question.text)}",
                domain=chosen.domain,
                task=name,
                source=name,
                messages=as_messages(
                    question.text, None if question.is_complete else look["instruction"], look["system_prompt"]
                ),
                verifier=chosen.domain,
                reference=question.reference,
                metadata=question.metadata,
            )
    if left_out:
        told = ", ".join(f"{number} {reason}" for reason, number in left_out.most_common())
        log.warning("evaluation set %s: %d records are left out: %s", name, left_out.total(), told)
    if chosen.problems is not None and count != chosen.problems:
        log.warning("evaluation set %s has %d problems, not the %d it is known for", name, count, chosen.problems)


def _keep(path: Path, rows: Iterable[Row], name: str) -> None:
    """Write the problems, each question once."""
    uids: set[str] = set()
    try:
        with kept_whole(path) as file:
            for row in rows:
                if row.uid not in uids:
                    uids.add(row.uid)
                    file.write(as_line(row).encode())
            if not uids:
                raise DataError(f"evaluation set {name}: none of the records is a problem of it; are these its files?")
    except OSError as error:
        raise DataError(
            f"evaluation set {name}: its problems can't be kept in {path.parent}: {error}. Set `cache` to a folder "
            "that can be written to"
        ) from error


def _stamps(folder: str | None) -> Any:
    """What a folder's files are known by, so that others are read anew."""
    if folder is None:
        return None
    files = sorted(path for path in Path(folder).rglob("*") if path.is_file())
    return [[str(path.relative_to(folder)), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
