"""A source from its raw records to a prepared file, step by step, each of which a killed process goes on with.

    read      every record becomes a candidate or is rejected            candidates.jsonl, rejected.jsonl
    sift      quality passes, those that look ahead in a step of their own    kept_1.jsonl, rejected_1.jsonl, ...
    write     as many as asked for, drawn by seed; the manifest last     <source>.jsonl, <source>.manifest.json

A step's files are whole or not there. What a step pays for, such as a judge's verdicts, it keeps itself.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from heapq import nsmallest
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from nemo_prorl.data.kept import lock
from nemo_prorl.data.parquet import write_parquet
from nemo_prorl.data.prepare.base import SPLIT, TRAINING, Converter, Records
from nemo_prorl.data.prepare.candidates import convert_all, findings_of, rejections_in
from nemo_prorl.data.prepare.files import (
    as_line,
    as_object,
    read_lines,
    read_rows,
    sha256,
    whole,
    write_json,
    write_lines,
    writing,
)
from nemo_prorl.data.prepare.manifest import MANIFEST, Manifest, changes
from nemo_prorl.data.prepare.passes import LooksAhead, Pass, first_rejection
from nemo_prorl.data.prompt import Row
from nemo_prorl.data.sources.base import digest
from nemo_prorl.errors import DataError

log = logging.getLogger(__name__)

Format = Literal["jsonl", "parquet"]
PROGRESS_SECONDS = 10.0


@dataclass(frozen=True)
class Source:
    """What is to be prepared under a name: where the records come from, what makes problems of them, and how many.

    `problems`: at most so many for training, drawn by `seed`; None: all. `settings` are all that shape the result, as
    JSON; preparing with others is preparing something else.
    """

    name: str
    records: Records
    converter: Converter
    settings: Mapping[str, Any]
    problems: int | None = None
    seed: int = 0


class SameQuestion:
    """Rejects a question whose uid came before: a file may have each once. It says where the answers disagree, too."""

    name = "same question"

    def __init__(self) -> None:
        self._references: dict[str, str] = {}

    def judge(self, row: Row) -> str | None:
        reference = digest(json.dumps(row.reference, sort_keys=True))
        first = self._references.setdefault(row.uid, "")
        self._references[row.uid] = first or reference
        if not first:
            return None
        return f"asked before: {row.uid}" if first == reference else f"asked before with another reference: {row.uid}"


def prepare(source: Source, passes: Sequence[Pass], folder: Path, *, form: Format, replace: bool = False) -> Manifest:
    """Prepare a source into `folder`; what is there already, made with the same settings, is left as it is.

    Raises:
        DataError: there is something in `folder` that was made, or begun, with other settings, unless `replace`; or
            another process prepares it there; or a step can't go on. The same call goes on from what is there.
    """
    identity = _identity(source, form)
    done = Manifest.read(folder / MANIFEST.format(source.name))
    if done is not None and not replace:
        _check_same(source.name, done.identity, identity, f"{folder / MANIFEST.format(source.name)} was prepared")
        log.info("%s: prepared already, nothing to do", source.name)
        return done
    work = work_folder(folder, source.name)
    with _alone_in(work, source.name):
        _begin(source.name, work, identity, replace)
        manifest = _prepared(source, passes, folder, work, form)
        _remove_former_files(folder, done, manifest)
        shutil.rmtree(work)
    return manifest


def _prepared(source: Source, passes: Sequence[Pass], folder: Path, work: Path, form: Format) -> Manifest:
    """All steps, as far as they aren't done yet."""
    read = convert_all(source.name, source.records, source.converter, work)
    kept = _sift(source.name, [SameQuestion(), *passes], work)
    written = _write(source, kept, folder, form)
    rejected = sorted(work.glob("rejected*.jsonl"))
    with whole(folder / f"{source.name}.rejected.jsonl") as file:
        for path in rejected:
            file.write(path.read_text(encoding="utf-8"))
    manifest = Manifest(
        name=source.name,
        card=source.converter.card,
        identity=_identity(source, form),
        records=read,
        rejected=rejections_in(rejected),
        kept=sum(1 for _ in read_lines(kept)),
        files={
            name: {"rows": rows, "bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)}
            for name, rows in written.items()
        },
        findings=findings_of(work),
    )
    manifest.write(folder / MANIFEST.format(source.name))
    return manifest


@contextmanager
def _alone_in(work: Path, name: str) -> Iterator[None]:
    """Inside, no other process of this host is.

    Raises:
        DataError: another one is, or the system refuses.
    """
    with writing(work):
        work.mkdir(parents=True, exist_ok=True)
    handle = os.open(work, os.O_RDONLY)
    try:
        busy = f"{name}: another process is preparing it in {work} right now; wait for it, or choose another folder"
        lock(handle, DataError(busy))
        yield
    finally:
        os.close(handle)


def _remove_former_files(folder: Path, former: Manifest | None, manifest: Manifest) -> None:
    """Those in another form, say: nobody should train on what was replaced."""
    for name in () if former is None else former.files.keys() - manifest.files.keys():
        (folder / Path(name).name).unlink(missing_ok=True)


def work_folder(folder: Path, name: str) -> Path:
    """Where a preparation keeps what it has so far."""
    return folder / ".unfinished" / name


def begun_with(folder: Path, name: str) -> Mapping[str, Any]:
    """The identity of what is prepared or begun in `folder` under this name; empty if there is nothing."""
    done = Manifest.read(folder / MANIFEST.format(name))
    begun = work_folder(folder, name) / "identity.json"
    if begun.exists():
        identity: Mapping[str, Any] = json.loads(begun.read_text(encoding="utf-8"))
        return identity
    return done.identity if done is not None else {}


def _identity(source: Source, form: Format) -> dict[str, Any]:
    identity = {
        "settings": source.settings,
        "problems": source.problems,
        "seed": source.seed,
        "format": form,
        "origin": source.records.origin,
    }
    return dict(json.loads(json.dumps(identity)))


def _begin(name: str, work: Path, identity: Mapping[str, Any], replace: bool) -> None:
    begun = work / "identity.json"
    if begun.exists():
        found = json.loads(begun.read_text(encoding="utf-8"))
        if replace and found != identity:
            for entry in sorted(work.iterdir(), key=begun.__eq__):  # whose the rest is stays known to the last
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        else:
            _check_same(name, found, identity, f"{work} was begun")
    write_json(begun, identity)


def _check_same(name: str, found: Mapping[str, Any], wanted: Mapping[str, Any], what: str) -> None:
    if found != wanted:
        raise DataError(
            f"{name}: {what} with other settings ({changes(found, wanted)}). Put them back, choose another folder, or "
            "set replace=true to prepare it anew"
        )


def _sift(name: str, passes: Sequence[Pass], work: Path) -> Path:
    """The rows that all passes keep; gives their file."""
    rows = work / "candidates.jsonl"
    for number, step in enumerate(_steps(passes), start=1):
        kept, rejected = work / f"kept_{number}.jsonl", work / f"rejected_{number}.jsonl"
        if not kept.exists():
            what = f"{name}: {', '.join(one.name for one in step)}"
            log.info("%s", what)
            if isinstance(step[0], LooksAhead):
                step[0].prepare(_told(read_rows(rows), f"{what}, looking ahead"))
            _sift_once(_told(read_rows(rows), what), step, kept, rejected)
        rows = kept
    return rows


def _told(rows: Iterable[Row], what: str) -> Iterator[Row]:
    """The rows; now and then the log says how many there were."""
    told = time.monotonic()
    for number, row in enumerate(rows):
        if time.monotonic() - told > PROGRESS_SECONDS:
            told = time.monotonic()
            log.info("%s: %s rows", what, f"{number:,}")
        yield row


def _steps(passes: Sequence[Pass]) -> Iterator[list[Pass]]:
    """Passes that can be taken together; one that looks ahead must wait for those before it, and stands alone."""
    numbers = {id(one): number for number, one in enumerate(passes)}
    for _, group in groupby(passes, lambda one: numbers[id(one)] if isinstance(one, LooksAhead) else -1):
        yield list(group)


def _sift_once(rows: Iterable[Row], passes: Sequence[Pass], kept: Path, rejected: Path) -> None:
    with whole(kept) as keep, whole(rejected) as reject:  # closed in the opposite order: `kept` is there last
        for row in rows:
            if (verdict := first_rejection(row, passes)) is None:
                keep.write(as_line(row, evidence=True))
            else:
                one, rejection = verdict
                line = {"step": one.name, "uid": row.uid, **vars(rejection)}
                reject.write(json.dumps(line, ensure_ascii=False) + "\n")


def _write(source: Source, kept: Path, folder: Path, form: Format) -> dict[str, int]:
    """Each split's file; gives their numbers of rows by name."""
    uids: dict[str, list[str]] = {}
    for row in read_rows(kept):
        uids.setdefault(_split_of(row), []).append(row.uid)
    training = uids.get(TRAINING, [])
    if not training:
        raise DataError(f"{source.name}: no problem is left for training; {kept.parent} has what was rejected, and why")
    if source.problems is not None:
        # By a key of its own, each problem is as likely as any other, and asking for more keeps those drawn so far.
        uids[TRAINING] = nsmallest(source.problems, training, key=lambda uid: digest(f"{source.seed}/{uid}"))
    written = {}
    for split, drawn in uids.items():
        path = folder / f"{source.name}{'' if split == TRAINING else f'_{split}'}.{form}"
        wanted = set(drawn)
        rows = (row for row in read_rows(kept) if _split_of(row) == split and row.uid in wanted)
        if form == "parquet":
            with writing(path):
                write_parquet(path, map(as_object, rows))
        else:
            write_lines(path, map(as_line, rows))
        written[path.name] = len(drawn)
    return written


def _split_of(row: Row) -> str:
    return str(row.metadata.get(SPLIT, TRAINING))
