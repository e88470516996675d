"""Log lines: the run's own on the console, everything worth keeping in one file a rank."""

from __future__ import annotations

import logging
import sys
from collections import deque
from pathlib import Path

from tqdm import tqdm

OURS = "nemo_prorl"
HELD_AT_MOST = 10_000
DATE = "%Y-%m-%d %H:%M:%S"
FORMAT = "%(asctime)s rank %(rank)d %(levelname)s %(name)s: %(message)s"
CALM_FORMAT = "%(asctime)s rank %(rank)d | %(message)s"  # our own news on the console


def hold_records(rank: int, level: str) -> None:
    """Like `configure_logging` as long as the file isn't known: the newest of its records are held, HELD_AT_MOST, and
    written to it then."""
    configure_logging(rank, level, None)
    logging.getLogger().addHandler(_Held())


def configure_logging(rank: int, level: str, file: Path | None) -> None:
    """Send log records to the console and, appended, to `file`. Calling it again replaces the former settings.

    Console (stderr): of rank 0 our own records from `level` on, of other ranks only warnings. Other libraries are heard
    there from ERROR on: what Megatron, transformers and torch warn of is seldom news, and it is in the file.
    File: our own records from `level` on, warnings of everybody, Python's own warnings included.

    Raises:
        OSError: the file can't be written; the former settings stay.
    """
    handlers: list[logging.Handler] = [_Console(rank)]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(_File(file, rank))
    root = logging.getLogger()
    for former in [handler for handler in root.handlers if isinstance(handler, _Ours)]:
        root.removeHandler(former)
        if isinstance(former, _Held):
            former.hand_over(handlers[1:])
        former.close()
    for handler in handlers:
        root.addHandler(handler)
    logging.getLogger(OURS).setLevel(level)
    logging.captureWarnings(True)


class _Ours:
    """Marks handlers that `configure_logging` made, so that it removes no others."""


class _Console(_Ours, logging.Handler):
    """Writes above a progress bar, if one is drawn, instead of through it."""

    def __init__(self, rank: int) -> None:
        super().__init__()
        self._calm, self._full = _formatter(CALM_FORMAT, rank), _formatter(FORMAT, rank)
        self._our_least = logging.NOTSET if rank == 0 else logging.WARNING

    def filter(self, record: logging.LogRecord) -> bool:
        is_ours = record.name == OURS or record.name.startswith(OURS + ".")
        return record.levelno >= (self._our_least if is_ours else logging.ERROR)

    def format(self, record: logging.LogRecord) -> str:
        return (self._calm if record.levelno == logging.INFO else self._full).format(record)

    def emit(self, record: logging.LogRecord) -> None:
        try:
            # The stream is looked up late: whoever replaces sys.stderr also gets the log.
            with tqdm.external_write_mode(file=sys.stderr):
                sys.stderr.write(self.format(record) + "\n")
                sys.stderr.flush()
        except Exception:
            self.handleError(record)


class _Held(_Ours, logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self._records: deque[logging.LogRecord] = deque(maxlen=HELD_AT_MOST)

    def emit(self, record: logging.LogRecord) -> None:
        self._records.append(record)

    def hand_over(self, files: list[logging.Handler]) -> None:
        for record in tuple(self._records):  # another thread may be about to add one
            for file in files:
                file.handle(record)


class _File(_Ours, logging.FileHandler):
    def __init__(self, file: Path, rank: int) -> None:
        super().__init__(file, encoding="utf-8", errors="backslashreplace")
        self.setFormatter(_formatter(FORMAT, rank))


def _formatter(form: str, rank: int) -> logging.Formatter:
    return logging.Formatter(form, datefmt=DATE, defaults={"rank": rank})
