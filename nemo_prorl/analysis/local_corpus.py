"""A corpus in a folder of text files, with a suffix array over its words.

The one door to pydivsufsort. A suffix array takes 8 bytes a word, and the words themselves 8 more; a folder that is
larger than a shard is cut into several, at the ends of documents.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydivsufsort import divsufsort

from nemo_prorl.analysis.creativity import Words
from nemo_prorl.errors import DataError

log = logging.getLogger(__name__)

WORDS_PER_SHARD = 20_000_000
END, UNKNOWN = 0, -1  # between documents, and for words that the corpus doesn't have: no text's word is either
SUFFIXES = (".txt", ".md", ".jsonl")


class _Shard:
    """Word numbers of some documents, each followed by END, and the order of their suffixes."""

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = np.array(numbers, dtype=np.int64)
        self._suffixes: NDArray[np.int64] = divsufsort(self._numbers.copy()).astype(np.int64)

    def longest_matches(self, wanted: NDArray[np.int64], longest: int) -> NDArray[np.int64]:
        """How far the text from each of the places [n] on is found, up to `longest`.

        Every place narrows its own range of suffixes, by one word more at a time; all of them at once.
        """
        low = np.zeros(len(wanted), dtype=np.int64)
        high = np.full(len(wanted), len(self._suffixes), dtype=np.int64)
        matches = np.zeros(len(wanted), dtype=np.int64)
        live = np.arange(len(wanted))
        for offset in range(longest):
            live = live[live + offset < len(wanted)]
            word = wanted[live + offset]
            low[live] = self._bound(low[live], high[live], offset, word)
            high[live] = self._bound(low[live], high[live], offset, word + 1)
            live = live[(low[live] < high[live]) & (word != UNKNOWN)]
            matches[live] = offset + 1
        return matches

    def _bound(
        self, low: NDArray[np.int64], high: NDArray[np.int64], offset: int, word: NDArray[np.int64]
    ) -> NDArray[np.int64]:
        """The first suffix of each range whose word number `offset` is `word` or a later one."""
        low, high = low.copy(), high.copy()
        while (open_ := low < high).any():
            middle = (low + high) // 2
            place = self._suffixes[np.minimum(middle, len(self._suffixes) - 1)] + offset
            # A suffix that is over comes before all longer ones: divsufsort has its end below every word.
            found = np.where(
                place < len(self._numbers), self._numbers[np.minimum(place, len(self._numbers) - 1)], UNKNOWN
            )
            before = open_ & (found < word)
            low, high = np.where(before, middle + 1, low), np.where(open_ & ~before, middle, high)
        return low


class LocalCorpus:
    """All .txt, .md and .jsonl files below a folder; of a JSONL line its `text`.

    Raises:
        DataError: the folder has no text, or a line is no object with a text.
    """

    def __init__(self, folder: str | Path, *, words_per_shard: int = WORDS_PER_SHARD) -> None:
        self._vocabulary: dict[str, int] = {}
        self._shards: list[_Shard] = []
        numbers: list[int] = []
        self.words = 0
        for document in documents_in(Path(folder)):
            number_of = self._vocabulary.setdefault
            numbers += [number_of(word, len(self._vocabulary) + 1) for word in Words.of(document).words]
            numbers.append(END)
            if len(numbers) >= words_per_shard:
                self._close_shard(numbers)
        self._close_shard(numbers)
        if not self.words:
            raise DataError(f"corpus {folder}: no words in any of its {', '.join(SUFFIXES)} files")
        log.info("corpus %s: %d words in %d shards", folder, self.words, len(self._shards))

    def longest_matches(self, words: Words, lengths: Sequence[int]) -> NDArray[np.int64]:
        """See `creativity.Corpus`."""
        wanted = np.array([self._vocabulary.get(word, UNKNOWN) for word in words.words], dtype=np.int64)
        return np.max([shard.longest_matches(wanted, max(lengths)) for shard in self._shards], axis=0)

    def _close_shard(self, numbers: list[int]) -> None:
        if any(numbers):
            self._shards.append(_Shard(numbers))
            self.words += sum(number != END for number in numbers)
        numbers.clear()


def documents_in(folder: Path) -> Iterator[str]:
    """The texts of a corpus folder, in order of files' names."""
    files = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES and path.is_file())
    if not files:
        raise DataError(f"corpus {folder}: there are no {', '.join(SUFFIXES)} files in it")
    for path in files:
        if path.suffix != ".jsonl":
            yield path.read_text(encoding="utf-8", errors="replace")
            continue
        with path.open(encoding="utf-8", errors="replace") as lines:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    yield _text_of(line, f"{path}:{number}")


def _text_of(line: str, where: str) -> str:
    try:
        text = json.loads(line)["text"]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f'{where}: a line of a corpus is {{"text": "..."}}; found {line[:60]!r}') from error
    if not isinstance(text, str):
        raise DataError(f"{where}: 'text' must be a text; found {text!r:.60}")
    return text
