"""Evaluation problems that have leaked into training data."""

from __future__ import annotations

import re
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from nemo_prorl.data.prompt import Row
from nemo_prorl.data.quality.similar import SimilarTexts
from nemo_prorl.data.quality.wording import question_of, words_of
from nemo_prorl.data.sources.base import question_key

_QUESTION_IN_UID = re.compile(r"-([0-9a-f]{16})$")  # as `row_of_question` makes it


@dataclass(frozen=True)
class _Asked:
    """An evaluation problem: its name, its words, and of which of them it is recognised."""

    name: str
    words: int
    telling: int


class Contamination:
    """Rejects a problem that an evaluation set asks, whole, in other words, or within a longer text.

    One of three is enough: the same question, whatever instruction follows it; a similar one (`SimilarTexts`, at
    `similarity`); or runs of `run_words` words that both have and that make up `coverage` of the evaluation problem's
    telling words. That is the rule of Tulu 3 (Lambert et al. 2024, section 3.2): runs of 8, half of the words. A single
    run of 13, as for GPT-3 (Brown et al. 2020, appendix C), would take "where m and n are relatively prime positive
    integers. Find m + n" for a leak.

    Runs that more than `common_to` evaluation problems share are form and tell nothing: instructions, and the wording
    of generated puzzles. A problem without any telling run, or shorter than one, is recognised by the other two rules.
    """

    name = "contamination"

    def __init__(
        self,
        evaluation: Iterable[tuple[str, Row]],
        *,
        run_words: int = 8,
        coverage: float = 0.5,
        similarity: float = 0.7,
        common_to: int = 10,
    ) -> None:
        """`evaluation`: the problems of every set, each with its set's name."""
        self._run_words, self._coverage = run_words, coverage
        self._same: dict[str, str] = {}
        self._similar = SimilarTexts(threshold=similarity, shingle_tokens=3)
        texts: list[tuple[str, list[str]]] = []
        for set_name, row in evaluation:
            name = f"{row.uid} of {set_name}"
            self._same |= {key: name for key in _keys_of(row) if key not in self._same}
            self._similar.add(name, question_of(row))
            texts.append((name, words_of(question_of(row))))
        self._asked: list[_Asked] = []
        self._runs: dict[int, list[tuple[int, int]]] = defaultdict(list)  # run -> (problem, where it begins)
        self._index(texts, common_to)

    def __len__(self) -> int:
        """Evaluation problems that it knows."""
        return len(self._asked)

    def judge(self, row: Row) -> str | None:
        for key in _keys_of(row):
            if (name := self._same.get(key)) is not None:
                return f"contaminated: asks {name}"
        question = question_of(row)
        if (found := self._similar.most_similar(question)) is not None:
            return f"contaminated: like {found[0]}, similarity {found[1]:.2f}"
        return self._covering(words_of(question))

    def _index(self, texts: Sequence[tuple[str, list[str]]], common_to: int) -> None:
        runs_of = [self._runs_in(words) for _, words in texts]
        frequency = Counter(run for runs in runs_of for run in set(runs))
        for number, ((name, words), runs) in enumerate(zip(texts, runs_of, strict=True)):
            telling: set[int] = set()
            for begin, run in enumerate(runs):
                if frequency[run] <= common_to:
                    self._runs[run].append((number, begin))
                    telling.update(range(begin, begin + self._run_words))
            self._asked.append(_Asked(name, len(words), len(telling)))

    def _covering(self, words: Sequence[str]) -> str | None:
        """The evaluation problem that `words` cover most of, if it is enough."""
        covered: dict[int, set[int]] = defaultdict(set)
        for run in self._runs_in(words):
            for number, begin in self._runs.get(run, ()):
                covered[number].update(range(begin, begin + self._run_words))
        if not covered:
            return None
        part = {number: len(places) / self._asked[number].telling for number, places in covered.items()}
        best = min(part, key=lambda number: (-part[number], number))
        if part[best] < self._coverage:
            return None
        asked, length = self._asked[best], self._run_words
        return f"contaminated: has {len(covered[best])} of {asked.words} words of {asked.name}, in runs of {length}"

    def _runs_in(self, words: Sequence[str]) -> list[int]:
        runs = zip(*(words[i:] for i in range(self._run_words)), strict=False)
        return [zlib.crc32("\x1f".join(run).encode()) for run in runs]


def _keys_of(row: Row) -> list[str]:
    """What its question is known by: as it stands and, where the uid is made of it, without the instruction."""
    made = _QUESTION_IN_UID.search(row.uid)
    return [question_key(row.messages), *([made[1]] if made else [])]
