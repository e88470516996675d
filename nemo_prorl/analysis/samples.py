"""Sampled answers as a page holds them: a small table of all, and the texts in pieces that are unpacked when needed.

Texts of a long run weigh gigabytes, a page may weigh some megabytes. So the middle of long texts is left out, as little
of it as the budget allows; if that isn't enough, every so-manieth answer is kept. The page says which of it was done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

from nemo_prorl.analysis.packed import packed, rounded
from nemo_prorl.telemetry.records import SAMPLES_FILE, VALIDATION_SAMPLES_FILE, each_record

# Characters of a text that are kept.
LIMITS = (100_000, 30_000, 10_000, 6_000, 4_000, 3_000, 2_000, 1_400, 1_000, 700, 500, 350, 250, 170, 120)
CHUNK = 400  # answers that are unpacked together
PACKS_TO = 0.3  # letters of base64 a character, if a text packs well; then it is measured

NAMES = ("from", "domain", "task", "outcome", "finish_reason")
NUMBERS = ("step", "reward", "shaped_reward", "prompt_tokens", "response_tokens")
TEXTS = ("prompt", "response", "reason", "uid")

Text = str | tuple[str, int, str]  # whole; or its beginning, how many characters are left out, and its end


class Samples(NamedTuple):
    """Answers of one origin, which `read` yields anew each time: records as in samples.jsonl."""

    origin: str
    read: Callable[[], Iterable[Mapping[str, Any]]]


@dataclass(frozen=True)
class PackedSamples:
    """`index`: {"count", "total", "limit", columns}; `chunks`: texts of CHUNK answers each, in the same order."""

    index: str
    chunks: Sequence[str]

    @property
    def size(self) -> int:
        return len(self.index) + sum(map(len, self.chunks))


def samples_of_run(folder: Path) -> list[Samples]:
    def validated() -> Iterator[Mapping[str, Any]]:
        for record in each_record(folder / VALIDATION_SAMPLES_FILE):
            yield {**record, "from": f"validation: {record.get('set', '?')}"}

    return [Samples("training", lambda: each_record(folder / SAMPLES_FILE)), Samples("validation", validated)]


def pack_samples(sources: Sequence[Samples], *, budget: int) -> PackedSamples:
    """As much of the answers as weighs at most `budget` bytes; at least the table of them all, without any text."""
    total, sizes = 0, dict.fromkeys(LIMITS, 0)
    for record in _all(sources):
        total += 1
        for limit in LIMITS:
            sizes[limit] += sum(min(len(str(record.get(name, ""))), limit) for name in TEXTS)
    limits = [limit for limit in LIMITS if sizes[limit] * PACKS_TO <= budget] or [LIMITS[-1]]
    rows = sorted((_row(record, limits[0]) for record in _all(sources)), key=itemgetter("step"))
    found = _pack(rows, total, limits[0])
    while found.size > budget and len(limits) > 1:
        shrinking = budget / found.size
        limits = [one for one in limits[1:] if sizes[one] <= shrinking * sizes[limits[0]]] or [limits[-1]]
        found = _pack([_cut_row(row, limits[0]) for row in rows], total, limits[0])
    every = 2
    while found.size > budget:
        kept = rows[::every] if every <= len(rows) else []
        found = _pack([_cut_row(row, limits[0]) for row in kept], total, limits[0])
        if not kept:
            break
        every *= 2
    return found


def _all(sources: Sequence[Samples]) -> Iterator[Mapping[str, Any]]:
    for source in sources:
        for record in source.read():
            yield record if "from" in record else {**record, "from": source.origin}


def _row(record: Mapping[str, Any], limit: int) -> dict[str, Any]:
    """What the page needs of a record, whatever it lacks."""
    row: dict[str, Any] = {name: str(record.get(name) or "unknown") for name in NAMES}
    row |= {name: rounded(record.get(name) or 0) for name in NUMBERS}
    return row | {name: cut(str(record.get(name) or ""), limit) for name in TEXTS}


def _cut_row(row: dict[str, Any], limit: int) -> dict[str, Any]:
    return row | {name: cut(row[name], limit) for name in TEXTS}


def cut(text: Text, limit: int) -> Text:
    """At most `limit` characters: two thirds from the beginning and the rest from the end, where answers stand.

    >>> cut("abcdefghij", 6), cut(("abcd", 10, "ef"), 3), cut("abc", 3)
    (('abcd', 4, 'ij'), ('ab', 13, 'f'), 'abc')
    """
    head, left_out, tail = text if isinstance(text, tuple) else (text, 0, "")
    surplus = len(head) + len(tail) - limit
    if surplus <= 0:
        return text
    if not left_out:
        tail = head
    kept_head, kept_tail = head[: limit - limit // 3], tail[len(tail) - limit // 3 :]
    return kept_head, left_out + surplus, kept_tail


def _pack(rows: Sequence[Mapping[str, Any]], total: int, limit: int) -> PackedSamples:
    index: dict[str, Any] = {"count": len(rows), "total": total, "limit": limit, "chunk": CHUNK}
    for name in NAMES:
        names = sorted({row[name] for row in rows})
        place = {one: number for number, one in enumerate(names)}
        index[name] = {"names": names, "of": [place[row[name]] for row in rows]}
    for name in NUMBERS:
        index[name] = [row[name] for row in rows]
    index["cut"] = sum(any(isinstance(row[name], tuple) for name in TEXTS) for row in rows)
    chunks = [packed(_texts(rows[start : start + CHUNK])) for start in range(0, len(rows), CHUNK)]
    return PackedSamples(packed(index), chunks)


def _texts(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """A prompt that several answers share stands there once."""
    prompts: dict[Text, int] = {}
    told = [[prompts.setdefault(row["prompt"], len(prompts)), *(row[name] for name in TEXTS[1:])] for row in rows]
    return {"prompts": list(prompts), "rows": told}
