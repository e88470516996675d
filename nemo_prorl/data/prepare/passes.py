"""Quality passes: each looks at a problem and keeps it, or says why not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from nemo_prorl.data.prompt import Row


class Pass(Protocol):
    """One reason to leave problems out. It may keep state: the problems of a source come in their order, each once.

    A pass is made afresh for each source, and whatever an earlier pass rejected it never sees.
    """

    name: str

    def judge(self, row: Row) -> str | None:
        """None keeps the row; a text is the reason of its rejection, counted by what stands before the first colon.

        "near duplicate: of apps-17" and "near duplicate: of apps-4" are counted together.
        """
        ...


@runtime_checkable
class LooksAhead(Protocol):
    """A pass that has to see all rows before it judges the first one."""

    def prepare(self, rows: Iterable[Row]) -> None:
        """`rows` are those that the passes before this one keep; they may be walked once."""
        ...


@dataclass(frozen=True)
class Rejection:
    """Why something isn't a problem to train on: `reason` in a few words, for counts, and what was found."""

    reason: str
    detail: str = ""

    @classmethod
    def read(cls, text: str) -> Rejection:
        """
        >>> Rejection.read("near duplicate: of apps-17")
        Rejection(reason='near duplicate', detail='of apps-17')
        """
        reason, _, detail = text.partition(":")
        return cls(reason.strip(), detail.strip())


def first_rejection(row: Row, passes: Sequence[Pass]) -> tuple[Pass, Rejection] | None:
    """The first of the passes, one after the other, that rejects the row, and why; None: it is kept."""
    for one in passes:
        if (text := one.judge(row)) is not None:
            return one, Rejection.read(text)
    return None
