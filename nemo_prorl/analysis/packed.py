"""Data inside a page: JSON, compressed, in letters that no reader of HTML takes for markup."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Iterable
from typing import Any


def packed(value: Any) -> str:
    """Base64 of gzip of JSON, the same for the same value. A lone surrogate becomes its JSON escape.

    >>> packed([1])[:6]
    'H4sIAA'
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return b64encode(gzip.compress(text.encode("utf-8", "backslashreplace"), 6, mtime=0)).decode("ascii")


def rounded(value: float | None) -> float | int | None:
    """Five significant digits: more can't be seen, and what can't be seen weighs the most.

    >>> rounded(0.123456789), rounded(123456), rounded(2.0), rounded(None)
    (0.12346, 123456, 2, None)
    """
    if value is None or isinstance(value, int):
        return value
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def column(values: Iterable[float | None]) -> list[float | int | None]:
    return [rounded(value) for value in values]
