"""Asking verifiers about many rows at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice

from nemo_prorl.data.prompt import Row

Question = Callable[[Row], str | None]
"""What is wrong with a row, by somebody who takes long to say so; None: nothing."""

ROWS_AT_A_TIME = 512


class Asked:
    """Answers to one question about rows. Those that were asked about before, in threads, are known at once.

    The same row may be asked about again: one uid, one answer.
    """

    def __init__(self, question: Question, threads: int) -> None:
        self._question, self._threads = question, threads
        self._fine: set[str] = set()
        self._wrong: dict[str, str] = {}

    def ask_all(self, rows: Iterable[Row]) -> None:
        """About all of `rows`, so many at a time that memory holds them."""
        with ThreadPoolExecutor(self._threads) as threads:
            for part in _parts(rows):
                for row, wrong in zip(part, threads.map(self._question, part), strict=True):
                    self._keep(row, wrong)

    def about(self, row: Row) -> str | None:
        if row.uid in self._fine:
            return None
        if row.uid not in self._wrong:
            self._keep(row, self._question(row))
        return self._wrong.get(row.uid)

    def _keep(self, row: Row, wrong: str | None) -> None:
        if wrong is None:
            self._fine.add(row.uid)
        else:
            self._wrong[row.uid] = wrong


def _parts(rows: Iterable[Row]) -> Iterator[list[Row]]:
    rows = iter(rows)
    while part := list(islice(rows, ROWS_AT_A_TIME)):
        yield part
