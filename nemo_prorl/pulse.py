"""Whether this process gets on: a count that grows whenever a piece of work is done, read by whoever watches."""

from __future__ import annotations


class Pulse:
    """`beats`: of microbatches, completions, rows and the like, since the process began."""

    def __init__(self) -> None:
        self.beats = 0

    def beat(self) -> None:
        """Something is done. Cheap: call it as often as that happens."""
        self.beats += 1


PULSE = Pulse()  # a process has one
