"""The folder of a run's checkpoints: their names, which of them stay, and how one is put away.

    checkpoints/
        iter_0000050/                            finished: whole, unless something has damaged it since
        iter_0000060.partial/                    being written or being removed; never a checkpoint
        index.json                               which there are, what they weigh and scored, and why each is kept
        latest_checkpointed_iteration.txt        for readers of Megatron-LM's checkpoints; we don't read it

Nothing here is collective: the main rank does it.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from nemo_prorl.megatron import manifest
from nemo_prorl.megatron.retention import Entry, Retention

log = logging.getLogger(__name__)

LATEST, INDEX, STATE = "latest_checkpointed_iteration.txt", "index.json", "state.json"
_PREFIX, _PARTIAL = "iter_", ".partial"


def name_of(step: int) -> str:
    return f"{_PREFIX}{step:07d}"


def unfinished(path: Path) -> Path:
    """Where the checkpoint that is to be `path` is written, and where it goes to be removed."""
    return path.with_name(path.name + _PARTIAL)


def finished(folder: Path) -> list[Path]:
    """The checkpoints that were given their name, whole or broken since, in order of step; none without a folder.

    Raises:
        OSError: the folder can't be read.
    """
    return sorted(filter(_is_finished, folder.iterdir()), key=_step_of) if folder.exists() else []


def replace(path: Path, written: Path) -> None:
    """Give `written` the name `path`; what has that name, a broken one whose step we came to again, goes.

    Raises:
        OSError: it didn't work; `path` is then what it was, or isn't there.
    """
    if path.exists():
        _put_aside(path, path.with_name(f"{path.name}.replaced{_PARTIAL}"))
    os.replace(written, path)


def tidy(folder: Path, step: int, *, retention: Retention, broken: Collection[str]) -> None:
    """What is to be done once the checkpoint of `step` is whole. It stays; trouble with the others is a warning.

    Those of later steps go, broken or not: their future will not be. Of the others those stay that `retention` has a
    reason for; those whose name is in `broken`, or which lack their manifest, don't count.
    """
    with _warned(f"{folder / LATEST} can't be brought up to step {step}"):
        _write(folder / LATEST, f"{step}\n")
    with _warned(f"{folder} can't be tidied up"):
        for leftover in folder.glob(f"{_PREFIX}*{_PARTIAL}"):  # of runs that were killed, too
            with _warned(f"{leftover} can't be removed"):
                shutil.rmtree(leftover)
        every = finished(folder)
        late = [path for path in every if _step_of(path) > step]
        past = [path for path in every if _step_of(path) <= step and (path / manifest.MANIFEST).is_file()]
        whole = {path: _entry(path) for path in past if path.name not in broken}
        reasons = retention.reasons(list(whole.values()))
        kept = {path: entry for path, entry in whole.items() if reasons[entry.step]}
        for path in [*late, *(path for path in past if path not in kept)]:
            with _warned(f"checkpoint {path} can't be removed"):
                # Renamed first: a folder that is half removed must not look like a broken checkpoint.
                shutil.rmtree(_put_aside(path, unfinished(path)))
        index = {path.name: _described(path, entry, reasons[entry.step]) for path, entry in kept.items()}
        _write(folder / INDEX, json.dumps(index, indent=1) + "\n")


def _entry(path: Path) -> Entry:
    """What the retention knows of a checkpoint; of one whose state can't be read, only its step."""
    try:
        own = json.loads((path / STATE).read_text(encoding="utf-8"))
        score = None if own["score"] is None else float(own["score"])
        return Entry(_step_of(path), score, own["measure"], tuple(own["tags"]))
    except (OSError, ValueError, KeyError, TypeError):
        return Entry(_step_of(path))


def _described(path: Path, entry: Entry, reasons: list[str]) -> dict[str, Any]:
    sizes = [file["bytes"] for file in (manifest.read(path) or {}).values()]
    return {
        "step": entry.step,
        "score": entry.score,
        "measure": entry.measure,
        "tags": list(entry.tags),
        "bytes": sum(sizes),
        "kept_because": reasons,
    }


def _write(path: Path, text: str) -> None:
    beside = path.with_name(path.name + _PARTIAL)
    beside.write_text(text, encoding="utf-8")
    os.replace(beside, path)


def _put_aside(path: Path, doomed: Path) -> Path:
    shutil.rmtree(doomed, ignore_errors=True)  # a leftover: no folder can be renamed to one that holds something
    os.replace(path, doomed)
    return doomed


def _is_finished(path: Path) -> bool:
    return path.name.startswith(_PREFIX) and path.name.removeprefix(_PREFIX).isdecimal() and path.is_dir()


def _step_of(path: Path) -> int:
    return int(path.name.removeprefix(_PREFIX))


@contextmanager
def _warned(problem: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        log.warning("%s: %s", problem, error)
