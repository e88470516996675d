"""Files that spare us work next time, in the user's cache folder or beside what they are made of; and locks on them."""

from __future__ import annotations

import fcntl
import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, BinaryIO

log = logging.getLogger(__name__)


def cache_folder(name: str) -> Path:
    """Our folder of that name in the user's cache; it need not be there."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "nemo_prorl" / name


@contextmanager
def kept_whole(path: Path) -> Iterator[BinaryIO]:
    """A file that appears under its name when it is complete, or not at all. Several processes may write it at a time:
    each its own, and the last one stays.

    Raises:
        OSError: the system refuses.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f"{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(partial, 0o644)  # others who share the folder may read it
        os.replace(partial, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(partial)
        raise


def lock(file: IO[Any] | int, refusal: Exception) -> None:
    """Hold a lock on an open file until it is closed. Where the file system knows no locks, several may.

    Raises:
        `refusal`: another process of this host holds it.
    """
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise refusal from error
    except OSError as error:
        log.debug("no lock: %s", error)
