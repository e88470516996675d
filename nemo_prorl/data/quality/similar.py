"""Finding texts that are nearly the same among many: MinHash and LSH propose, the exact similarity decides."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rensa import RMinHash, RMinHashLSH

from nemo_prorl.data.quality.wording import figures_of, jaccard, shingles_of, tokens_of

HASHES = 160
BANDS = 32  # of 5 hashes: two texts of similarity 0.8 are missed once in 300,000 times, two of 0.6 one time in 13


@dataclass(frozen=True)
class _Known:
    name: str
    figures: int
    shingles: NDArray[np.uint32]


class SimilarTexts:
    """Texts by name. Two are similar if the Jaccard similarity of their runs of `shingle_tokens` tokens is at least
    `threshold` and they have the same numbers and operators: a problem with other numbers is another problem."""

    def __init__(self, *, threshold: float, shingle_tokens: int) -> None:
        self._threshold, self._shingle_tokens = threshold, shingle_tokens
        self._known: list[_Known] = []
        self._index = RMinHashLSH(threshold=threshold, num_perm=HASHES, num_bands=BANDS)

    def most_similar(self, text: str) -> tuple[str, float] | None:
        """The name of the most similar text there is, of equals the first, and the similarity; None without one."""
        looked_at = self._look_at("", text)
        return self._best(looked_at, self._sketch(looked_at))

    def add(self, name: str, text: str) -> tuple[str, float] | None:
        """What `most_similar` says; a text without one is remembered."""
        looked_at = self._look_at(name, text)
        sketch = self._sketch(looked_at)
        if (found := self._best(looked_at, sketch)) is None:
            self._index.insert(len(self._known), sketch)
            self._known.append(looked_at)
        return found

    def _look_at(self, name: str, text: str) -> _Known:
        tokens = tokens_of(text)
        return _Known(name, hash(figures_of(tokens)), shingles_of(tokens, self._shingle_tokens))

    def _sketch(self, text: _Known) -> RMinHash:
        sketch = RMinHash(num_perm=HASHES, seed=1)
        sketch.update(list(map(str, text.shingles.tolist())))
        return sketch

    def _best(self, text: _Known, sketch: RMinHash) -> tuple[str, float] | None:
        best: tuple[str, float] | None = None
        for number in sorted(self._index.query(sketch)):
            known = self._known[number]
            if known.figures == text.figures:
                similarity = jaccard(known.shingles, text.shingles)
                if similarity >= self._threshold and (best is None or similarity > best[1]):
                    best = known.name, similarity
        return best
