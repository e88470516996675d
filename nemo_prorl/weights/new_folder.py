"""A folder that appears whole or not at all: written beside its place and renamed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nemo_prorl.errors import WeightsError

MARGIN_BYTES = 16 * 2**20  # for config, tokenizer and the file system's own records


@contextmanager
def new_folder(path: str | Path, *, needs_bytes: int, overwrite: bool) -> Iterator[Path]:
    """Inside, an empty `<path>.partial` to write to; after it, that is `path`. When the body fails it is removed.

    Raises:
        WeightsError: `path` holds something and `overwrite` is False, or it holds anything but a model; or the disk
            has less than `needs_bytes` free, or gets full.
    """
    path = Path(path)
    refuse_to_replace(path, overwrite)
    partial = path.with_name(path.name + ".partial")
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a run that was killed
        partial.mkdir(parents=True)
        refuse_full_disk(path, needs_bytes)
        yield partial
        put_in_place(partial, path)
    except OSError as error:
        raise WeightsError(
            f"{path} can't be written: {error}. It needs {needs_bytes + MARGIN_BYTES} bytes in a place you may write "
            "to; free some, or choose another folder. Nothing was left there."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def refuse_to_replace(path: Path, overwrite: bool) -> None:
    """See whether a folder may be written at `path`; nothing is changed.

    Raises:
        WeightsError: `path` holds something and `overwrite` is False, or it holds anything but a model.
    """
    if path.is_dir():
        held = _entries(path)
        if not held:
            return
        if not overwrite:
            raise WeightsError(f"{path} is not empty; choose another folder, or ask for it to be overwritten.")
        if "config.json" not in held:
            raise WeightsError(
                f"{path} holds {', '.join(held[:5])} but no config.json: it is not a model folder, so it is not "
                "overwritten. Choose another folder, or empty it yourself."
            )
    elif path.exists():
        raise WeightsError(f"{path} is a file; choose a folder.")


def _entries(path: Path) -> list[str]:
    try:
        return sorted(entry.name for entry in path.iterdir())
    except OSError as error:
        raise WeightsError(f"{path} can't be read: {error}. Choose another folder.") from error


def refuse_full_disk(path: Path, needs_bytes: int, already_there: int = 0) -> None:
    """See whether `path` fits its disk, of which `already_there` bytes are written.

    Raises:
        WeightsError: it doesn't.
    """
    free = shutil.disk_usage(path.parent).free
    if free + already_there < needs_bytes + MARGIN_BYTES:
        raise WeightsError(
            f"{path} needs {needs_bytes + MARGIN_BYTES} bytes and its disk has {free} free. Free some, or choose a "
            "folder on another disk."
        )


def put_in_place(partial: Path, path: Path) -> None:
    """Give a folder that is written its name; what has that name goes."""
    replaced = path.with_name(path.name + ".replaced")
    shutil.rmtree(replaced, ignore_errors=True)
    if path.is_dir():
        path.rename(replaced)
    partial.rename(path)
    parent = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(parent)  # the renaming itself survives a power cut
    finally:
        os.close(parent)
    shutil.rmtree(replaced, ignore_errors=True)
