"""Tables to be read in a terminal."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], *, texts: int = 1) -> str:
    """A line for each row, columns as wide as they must be: the first `texts` to the left, the others to the right.

    >>> print(aligned([("set", "problems"), ("math", "12")]))
    set   problems
    math        12
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [[*map(str.ljust, row[:texts], widths), *map(str.rjust, row[texts:], widths[texts:])] for row in rows]
    return "\n".join("  ".join(line).rstrip() for line in lines)
