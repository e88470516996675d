"""Which checkpoints of a run stay, and why. Pure: somebody else removes the others."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

RESET = "reset"  # the tag of a checkpoint that was written right after one


@dataclass(frozen=True)
class Entry:
    """A whole checkpoint.

    score    of the validation of this very policy, if there was one; more is better
    measure  what the score is of; scores of different measures can't be compared
    """

    step: int
    score: float | None = None
    measure: str = ""
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class Retention:
    """The last, the best by score, those of every so many steps, and those at resets; one may be all of it at once."""

    keep_last: int = 2
    keep_best: int = 0
    keep_every_steps: int | None = None
    keep_at_resets: bool = False

    def reasons(self, entries: Sequence[Entry]) -> dict[int, list[str]]:
        """Why each checkpoint stays, by step; one without a reason may go. The last one always has one.

        >>> Retention(keep_last=1, keep_best=1).reasons([Entry(10, 0.5), Entry(20, 0.4), Entry(30, 0.3)])
        {10: ['best 1 of 1'], 20: [], 30: ['last 1 of 1']}
        """
        steps = sorted(entry.step for entry in entries)
        reasons: dict[int, list[str]] = {step: [] for step in steps}
        for place, step in enumerate(reversed(steps[-self.keep_last :]), start=1):
            reasons[step].append(f"last {place} of {self.keep_last}")
        for place, entry in enumerate(ranked(entries)[: self.keep_best], start=1):
            reasons[entry.step].append(f"best {place} of {self.keep_best}")
        for entry in entries:
            if self.keep_every_steps is not None and entry.step % self.keep_every_steps == 0:
                reasons[entry.step].append(f"every {self.keep_every_steps} steps")
            if self.keep_at_resets and RESET in entry.tags:
                reasons[entry.step].append("at a reset")
        return reasons


def ranked(entries: Collection[Entry]) -> list[Entry]:
    """Those with a score by the newest measure, the best first; of equal ones the earlier, which was trained less."""
    scored = [entry for entry in entries if entry.score is not None]
    newest = max(scored, key=lambda entry: entry.step, default=Entry(0)).measure
    scored = [entry for entry in scored if entry.measure == newest]
    return sorted(scored, key=lambda entry: (-(entry.score or 0.0), entry.step))
