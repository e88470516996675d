"""Creativity index: how little of a text is found word for word in a corpus (Lu et al., arXiv 2410.04265).

Of a text's words, r(i) is the length of the longest span from word i on that the corpus has. For a length L,

    coverage(L)    share of the words that lie in some span of at least L words that the corpus has
    uniqueness(L)  1 - coverage(L)
    index          the mean of uniqueness(L) over L = 5 ... 12

(The authors take the sum over L, up to a factor; a mean stays between 0 and 1.) r capped at the largest L is enough:
what a longer span covers, the spans of that length inside it cover together. Their DJ Search finds r in 2 look-ups a
word, since r(i + 1) is at least r(i) - 1.

Words are runs of letters and digits, and every other mark by itself; spaces don't count, capitals do.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.analysis.records import Creativity
from nemo_prorl.evaluation.resampling import resampled

LENGTHS = tuple(range(5, 13))
WORD = re.compile(r"\w+|[^\w\s]")


class Words(NamedTuple):
    """A text and where its words begin and end."""

    text: str
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, text: str) -> Words:
        return cls(text, tuple(found.span() for found in WORD.finditer(text)))

    def __len__(self) -> int:
        return len(self.spans)

    @property
    def words(self) -> list[str]:
        return [self.text[start:end] for start, end in self.spans]

    def span(self, first: int, length: int) -> str:
        """The text of `length` words from word `first` on, as it stands."""
        return self.text[self.spans[first][0] : self.spans[first + length - 1][1]]


class Corpus(Protocol):
    """What texts are looked up in."""

    def longest_matches(self, words: Words, lengths: Sequence[int]) -> NDArray[np.int64]:
        """r(i) for each word, [n], capped at the largest of `lengths`; below the smallest it may be 0."""
        ...


def dj_search(words: Words, lengths: Sequence[int], has: Callable[[str], bool]) -> NDArray[np.int64]:
    """r(i) of every word where all one can ask is whether the corpus has a text: at most two questions a word."""
    shortest, longest = min(lengths), max(lengths)
    matches = np.zeros(len(words), dtype=np.int64)
    known = 0  # r(i) is at least this, by what is known of r(i - 1)
    for start in range(len(words)):
        length = known
        while length < min(longest, len(words) - start):
            wanted = max(length + 1, shortest)
            if start + wanted > len(words) or not has(words.span(start, wanted)):
                break
            length = wanted
        matches[start] = length
        known = length - 1 if length > shortest else 0
    return matches


def uniqueness(matches: NDArray[np.int64], lengths: Sequence[int] = LENGTHS) -> NDArray[np.float64]:
    """1 - coverage(L) for each L, from r; 1 of no words at all."""
    words = len(matches)
    found = np.ones(len(lengths))
    for place, length in enumerate(lengths):
        starts = np.flatnonzero(matches >= length)
        edges = np.zeros(words + 1, dtype=np.int64)
        np.add.at(edges, starts, 1)
        np.add.at(edges, starts + matches[starts], -1)
        if words:
            found[place] = 1.0 - np.mean(np.cumsum(edges[:-1]) > 0)
    return found


def creativity(responses: Sequence[Sequence[str]], corpus: Corpus, key: str) -> Creativity:
    """Of the responses to each of some problems, with the interval over problems; `key` as for `resampled`."""
    by_problem = [
        np.mean([uniqueness(corpus.longest_matches(Words.of(text), LENGTHS)) for text in texts], axis=0)
        for texts in responses
    ]
    unique_PL = np.stack(by_problem)
    (index,) = resampled(unique_PL.mean(axis=1)[None], key)
    return Creativity(
        index=index.measure(),
        lengths=LENGTHS,
        uniqueness=tuple(float(share) for share in unique_PL.mean(axis=0)),
        responses=sum(map(len, responses)),
    )
