"""Questions that were asked before."""

from __future__ import annotations

import json
from collections.abc import Collection

from nemo_prorl.data.prompt import Row
from nemo_prorl.data.quality.similar import SimilarTexts
from nemo_prorl.data.quality.wording import question_of
from nemo_prorl.data.sources.base import digest, question_key


class ExactDuplicates:
    """Rejects a question that was asked before, however it is spaced or capitalised; with another reference as well."""

    name = "exact duplicates"

    def __init__(self) -> None:
        self._first: dict[str, tuple[str, str]] = {}

    def judge(self, row: Row) -> str | None:
        reference = digest(json.dumps(row.reference, sort_keys=True, default=str))
        uid, first_reference = self._first.setdefault(question_key(row.messages), (row.uid, reference))
        if uid == row.uid and first_reference == reference:
            return None
        if first_reference != reference:
            return f"asked before with another reference: {uid}"
        return f"asked before: {uid}"


class NearDuplicates:
    """Rejects a question that nearly repeats one before it: see `SimilarTexts`.

    Rows of `not_of`'s domains are kept: generated puzzles share their wording and differ in what it is about.
    """

    name = "near duplicates"

    def __init__(
        self, *, threshold: float = 0.8, shingle_tokens: int = 3, not_of: Collection[str] = ("logic",)
    ) -> None:
        self._asked = SimilarTexts(threshold=threshold, shingle_tokens=shingle_tokens)
        self._not_of = frozenset(not_of)

    def judge(self, row: Row) -> str | None:
        if row.domain in self._not_of:
            return None
        found = self._asked.add(row.uid, question_of(row))
        return None if found is None else f"near duplicate: of {found[0]}, similarity {found[1]:.2f}"
