"""What the system says about the run's folder, told as errors that say what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from nemo_prorl.errors import ConfigError, RunFolderError


@contextmanager
def opened(run_dir: Path) -> Iterator[None]:
    """Around what prepares the run's folder.

    Raises:
        ConfigError: the system refuses; nothing was trained yet.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(f"run.dir={run_dir} can't be used: {_reason(error)}; choose another run.dir") from error


@contextmanager
def written(path: Path) -> Iterator[None]:
    """Around what writes the run's file `path`.

    Raises:
        RunFolderError: the system refuses.
    """
    try:
        yield
    except OSError as error:
        raise RunFolderError(
            f"{path} can't be written: {_reason(error)}. Make room on its disk, or let this user write there, then "
            "start the same command again: it goes on from the newest checkpoint"
        ) from error


def _reason(error: OSError) -> str:
    said = error.strerror or str(error) or type(error).__name__
    return f"{said} ({error.filename})" if error.filename else said
