"""Rows of tokens as the engine is given them, before they are packed.

Letters: B rows, S tokens of the longest, T = S - 1 predicted tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from nemo_prorl.errors import ShapeError


@dataclass(frozen=True)
class TokenRows:
    """Right-padded rows. With `prompt_lengths_B` the predictions of prompt tokens are not scored (and stay 0).

    `parts` of equally many rows are scored one after another, each packed as if it were alone.
    """

    tokens_BS: Tensor
    lengths_B: Tensor
    prompt_lengths_B: Tensor | None = None
    parts: int = 1

    def __post_init__(self) -> None:
        if self.tokens_BS.dim() != 2 or self.lengths_B.shape != self.tokens_BS.shape[:1]:
            raise ShapeError(
                f"TokenRows: tokens_BS is {tuple(self.tokens_BS.shape)}, lengths_B {tuple(self.lengths_B.shape)}"
            )
        if not self.tokens_BS.numel():
            raise ShapeError("TokenRows: no rows at all; every data-parallel rank needs at least one")
        if len(self.lengths_B) % self.parts:
            raise ShapeError(f"TokenRows: {len(self.lengths_B)} rows can't be scored in {self.parts} equal parts")
        if (longest := int(self.lengths_B.max())) > self.tokens_BS.shape[1]:
            raise ShapeError(f"TokenRows: a row of {longest} tokens in tokens_BS of width {self.tokens_BS.shape[1]}")
        before_B = torch.ones_like(self.lengths_B) if self.prompt_lengths_B is None else self.prompt_lengths_B
        if not bool((self.lengths_B > before_B.clamp(min=1)).all()):
            raise ShapeError("TokenRows: a row of which nothing is to be predicted; leave it out")

    def each_part(self) -> Iterator[tuple[slice, TokenRows]]:
        """Which rows, and they alone, cut to the longest of them."""
        size = len(self.lengths_B) // self.parts
        for first in range(0, len(self.lengths_B), size):
            rows = slice(first, first + size)
            prompts_B = None if self.prompt_lengths_B is None else self.prompt_lengths_B[rows]
            longest = int(self.lengths_B[rows].max())
            yield rows, TokenRows(self.tokens_BS[rows, :longest], self.lengths_B[rows], prompts_B)

    @property
    def scored_BT(self) -> Tensor:
        """bool: predictions of real tokens, after the prompt where its length is known."""
        target_T = torch.arange(1, self.tokens_BS.shape[1])
        first_B = torch.ones_like(self.lengths_B) if self.prompt_lengths_B is None else self.prompt_lengths_B
        return (target_T >= first_B[:, None]) & (target_T < self.lengths_B[:, None])
