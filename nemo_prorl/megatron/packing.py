"""Rows of tokens laid end to end: what one forward pass computes, without padding, a shared prompt once.

Letters: R rows of a pack, L its tokens, N its scored predictions, B all rows, S tokens of the longest.

A row of S tokens needs S - 1 of them in the model: nothing is predicted after its last one. Rows that begin with the
same prompt, as the samples of a group do, are one cluster: the prompt is computed once and every response attends to
it. Clusters go into packs of at most so many tokens, best fit decreasing. None of this changes a score, a loss or a
gradient by more than the order of additions does.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nemo_prorl.megatron.token_rows import TokenRows


class Piece(NamedTuple):
    """A stretch of a pack. Its tokens see those before them in it, and all of the piece with the number `after`."""

    start: int
    length: int
    after: int | None = None


@dataclass(frozen=True)
class Pack:
    """Some rows as one sequence of tokens.

    rows_R          their numbers
    tokens_L        int64
    positions_L     each token's position in its row
    pieces          they follow each other and fill the pack
    sources_N       where in the pack the hidden state stands that a scored prediction is made from
    targets_N       the token predicted
    places_N        where its score belongs in a [R, width] tensor, counted row by row
    width           predictions of the longest row
    """

    rows_R: Tensor
    tokens_L: Tensor
    positions_L: Tensor
    pieces: tuple[Piece, ...]
    sources_N: Tensor
    targets_N: Tensor
    places_N: Tensor
    width: int

    def spread(self, values_N: Tensor) -> Tensor:
        """[R, width]: a value of each scored prediction in its place, 0 elsewhere. Differentiable."""
        flat = torch.zeros(len(self.rows_R) * self.width, dtype=values_N.dtype, device=values_N.device)
        return flat.index_put((self.places_N.to(values_N.device),), values_N).view(len(self.rows_R), self.width)

    def filled(self, length: int) -> Pack:
        """The same with tokens at its end that nothing is scored from, `length` in all."""
        missing = length - len(self.tokens_L)
        if not missing:
            return self
        zeros = torch.zeros(missing, dtype=torch.int64)
        return replace(
            self,
            tokens_L=torch.cat([self.tokens_L, zeros]),
            positions_L=torch.cat([self.positions_L, zeros]),
            pieces=(*self.pieces, Piece(len(self.tokens_L), missing)),
        )


@dataclass(frozen=True)
class Packer:
    """How rows become packs.

    max_tokens      of a pack; a row that is longer by itself has a pack of its own
    packing         false: every row is padded to the longest of its pack, and nothing is shared
    share_prompts   rows with the same prompt compute it once
    row_multiple    every piece is padded to a multiple of this: context parallelism cuts each in so many parts
    pack_multiple   every pack is padded to a multiple of this (and of row_multiple): sequence parallelism cuts it
    """

    max_tokens: int
    packing: bool = True
    share_prompts: bool = True
    row_multiple: int = 1
    pack_multiple: int = 1

    @property
    def shares(self) -> bool:
        """Whether prompts really are shared: a piece that is cut over ranks can't be what another comes after."""
        return self.packing and self.share_prompts and self.row_multiple == 1

    def packs(self, rows: TokenRows) -> list[Pack]:
        """Every row in exactly one pack; the same packs wherever they are asked for."""
        plan = _Plan(rows, self)
        clusters = list(plan.clusters())
        bins = best_fit([cluster.tokens for cluster in clusters], self.max_tokens) if self.packing else None
        chosen = [[clusters[i] for i in numbers] for numbers in bins] if bins is not None else plan.by_width(clusters)
        return [plan.pack(members) for members in chosen]

    def empty_pack(self) -> Pack:
        """One without rows: some schedules of a pipeline ask for a certain number of packs."""
        nothing, filler = torch.zeros(0, dtype=torch.int64), torch.zeros(self.pack_multiple, dtype=torch.int64)
        return Pack(nothing, filler, filler, (Piece(0, len(filler)),), nothing, nothing, nothing, 0)

    def padded(self, length: int) -> int:
        """A piece's length in the model."""
        return -(-length // self.row_multiple) * self.row_multiple


def best_fit(sizes: Sequence[int], capacity: int) -> list[list[int]]:
    """Numbers of the sizes by bin: decreasing, each into the fullest bin that still has room for it.

    >>> best_fit([5, 3, 7, 2, 3], 10)
    [[2, 1], [0, 4, 3]]
    """
    bins: list[list[int]] = []
    room: list[int] = []
    for number in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        fitting = [i for i, left in enumerate(room) if left >= sizes[number]]
        if fitting:
            chosen = min(fitting, key=lambda i: room[i])
        else:
            chosen = len(bins)
            bins.append([])
            room.append(capacity)
        bins[chosen].append(number)
        room[chosen] -= sizes[number]
    return bins


class _Cluster(NamedTuple):
    """Rows that stand together. With `shared` tokens of prompt they have those in common; 0: a single row."""

    rows: list[int]
    shared: int
    tokens: int


class _Plan:
    """The rows as arrays, and how they are laid out."""

    def __init__(self, rows: TokenRows, packer: Packer) -> None:
        self._packer = packer
        self._tokens_BS: NDArray[np.int64] = rows.tokens_BS.numpy()
        self._inputs = (rows.lengths_B - 1).tolist()  # tokens of each row that go into the model
        prompts_B = torch.ones_like(rows.lengths_B) if rows.prompt_lengths_B is None else rows.prompt_lengths_B
        self._first_scored = prompts_B.clamp(min=1).tolist()
        self._knows_prompts = rows.prompt_lengths_B is not None

    def clusters(self) -> Iterator[_Cluster]:
        """Rows by prompt, in parts that fit a pack, and single rows where nothing is shared."""
        if not (self._packer.shares and self._knows_prompts):
            yield from (self._cluster([row], 0) for row in range(len(self._inputs)))
            return
        by_prompt: dict[bytes, list[int]] = defaultdict(list)
        for row, prompt in enumerate(self._first_scored):
            by_prompt[self._tokens_BS[row, :prompt].tobytes()].append(row)
        for members in by_prompt.values():
            prompt = size = self._first_scored[members[0]]
            part: list[int] = []
            for row in members:
                response = self._inputs[row] - prompt
                if part and size + response > self._packer.max_tokens:
                    yield self._cluster(part, prompt)
                    part, size = [], prompt
                part.append(row)
                size += response
            yield self._cluster(part, prompt)

    def _cluster(self, rows: list[int], prompt: int) -> _Cluster:
        if len(rows) == 1:
            return _Cluster(rows, 0, self._packer.padded(self._inputs[rows[0]]))
        return _Cluster(rows, prompt, prompt + sum(self._inputs[row] - prompt for row in rows))

    def by_width(self, clusters: list[_Cluster]) -> list[list[_Cluster]]:
        """Single rows of similar length, as many as fit when each is padded to the longest of them."""
        bins: list[list[_Cluster]] = [[]]
        for cluster in sorted(clusters, key=lambda cluster: cluster.tokens):
            if bins[-1] and cluster.tokens * (len(bins[-1]) + 1) > self._packer.max_tokens:
                bins.append([])
            bins[-1].append(cluster)
        return bins

    def pack(self, clusters: list[_Cluster]) -> Pack:
        """The clusters one after the other."""
        layout = _Layout()
        width = 0 if self._packer.packing else max(cluster.tokens for cluster in clusters)
        for cluster in clusters:
            first = cluster.rows[0]
            start = layout.tokens
            if not cluster.shared:
                length = self._inputs[first]
                layout.piece(self._tokens_BS[first, :length], 0, width or self._packer.padded(length))
                self._score(layout, first, start, None)
                continue
            prompt = layout.piece(self._tokens_BS[first, : cluster.shared], 0, cluster.shared)
            for row in cluster.rows:
                tokens = self._tokens_BS[row, cluster.shared : self._inputs[row]]
                self._score(layout, row, layout.tokens, start + cluster.shared - 1)
                if len(tokens):  # a response of one token is predicted from the prompt alone
                    layout.piece(tokens, cluster.shared, len(tokens), after=prompt)
        pack = layout.pack()
        return pack.filled(-(-layout.tokens // self._packer.pack_multiple) * self._packer.pack_multiple)

    def _score(self, layout: _Layout, row: int, start: int, end_of_prompt: int | None) -> None:
        """Note where the row's scored predictions are made from: the hidden state of token t predicts token t + 1.

        `start` is where the row stands in the pack; if its prompt, ending at `end_of_prompt`, stands elsewhere, where
        its response does.
        """
        first, last = self._first_scored[row], self._inputs[row]
        column_N = np.arange(first - 1, last)
        source_N = start + column_N
        if end_of_prompt is not None:
            source_N -= first
            source_N[0] = end_of_prompt
        layout.score(row, source_N, self._tokens_BS[row, first : last + 1], column_N)


class _Layout:
    """A pack as it grows."""

    def __init__(self) -> None:
        self.pieces: list[Piece] = []
        self.tokens = 0
        self._token_parts: list[NDArray[np.int64]] = []
        self._position_parts: list[NDArray[np.int64]] = []
        self._rows: list[int] = []
        self._scored: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]] = []

    def piece(self, tokens: NDArray[np.int64], position: int, length: int, after: int | None = None) -> int:
        """Add a piece, padded to `length`; gives its number."""
        self._token_parts.append(np.pad(tokens, (0, length - len(tokens))))
        self._position_parts.append(np.arange(position, position + length))
        self.pieces.append(Piece(self.tokens, length, after))
        self.tokens += length
        return len(self.pieces) - 1

    def score(
        self, row: int, source_N: NDArray[np.int64], target_N: NDArray[np.int64], column_N: NDArray[np.int64]
    ) -> None:
        self._rows.append(row)
        self._scored.append((source_N, target_N, column_N))

    def pack(self) -> Pack:
        width = max(int(column_N[-1]) + 1 for _, _, column_N in self._scored)
        places = [column_N + number * width for number, (_, _, column_N) in enumerate(self._scored)]
        return Pack(
            rows_R=torch.tensor(self._rows),
            tokens_L=_joined(self._token_parts),
            positions_L=_joined(self._position_parts),
            pieces=tuple(self.pieces),
            sources_N=_joined([source_N for source_N, _, _ in self._scored]),
            targets_N=_joined([target_N for _, target_N, _ in self._scored]),
            places_N=_joined(places),
            width=width,
        )


def _joined(parts: list[NDArray[np.int64]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))
