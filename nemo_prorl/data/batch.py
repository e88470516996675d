"""Groups as tensors: what the actor is asked about and trained on.

Letters: B responses of this rank, S tokens of the longest row, T = S - 1 predicted tokens, G groups, N samples a group.
Column t of a [B, T] tensor speaks of the prediction of token t + 1 of the row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor

from nemo_prorl.data.trajectory import Group
from nemo_prorl.errors import ShapeError


@dataclass(frozen=True)
class RolloutBatch:
    """One rank's share of a step, or a part of it. Rows are right-padded; the padding is never scored.

    tokens_BS            int64, prompt then response
    prompt_lengths_B     int64, tokens of the prompt
    lengths_B            int64, tokens of prompt and response
    rewards_GN           float32, what advantages are computed from (shaped)
    temperature          at which the responses were sampled; every logprob is taken at it
    domains_B            domain of each row, for metrics by domain
    updates              parts that it is trained on in, one after another, and scored in: rows that are computed
                         together share an order of additions (and scales, in 8 bits), so only the same rows together
                         give the same bits before an update as in it
    sampler_logprobs_BT  float32, as the rollout engine reported them; None when it doesn't know them
    fresh_B              bool, rows that this step's policy sampled, where others may have waited; None: all rows
    advantages_BT, old_logprobs_BT, reference_logprobs_BT, base_logprobs_BT
                         float32, added by `with_` as the step goes on; base: of the model that the run started from
    """

    tokens_BS: Tensor
    prompt_lengths_B: Tensor
    lengths_B: Tensor
    rewards_GN: Tensor
    temperature: float
    domains_B: tuple[str, ...]
    updates: int = 1
    sampler_logprobs_BT: Tensor | None = None
    fresh_B: Tensor | None = None
    advantages_BT: Tensor | None = None
    old_logprobs_BT: Tensor | None = None
    reference_logprobs_BT: Tensor | None = None
    base_logprobs_BT: Tensor | None = None

    def __post_init__(self) -> None:
        B, S = self.tokens_BS.shape
        G, N = self.rewards_GN.shape
        if self.updates < 1 or G % self.updates:
            raise ShapeError(f"RolloutBatch: {G} groups can't be split into {self.updates} equal parts")
        if G * N != B or len(self.domains_B) != B:
            raise ShapeError(f"RolloutBatch: {G} groups of {N}, {len(self.domains_B)} domains, but {B} rows of tokens")
        for name in ("prompt_lengths_B", "lengths_B", "fresh_B"):
            value = getattr(self, name)
            if value is not None and value.shape != (B,):
                raise ShapeError(f"RolloutBatch.{name} is {tuple(value.shape)}, expected {(B,)}")
        if not bool(((self.prompt_lengths_B > 0) & (self.prompt_lengths_B < self.lengths_B)).all()):
            raise ShapeError("RolloutBatch: every row needs a prompt and a response of at least one token each")
        if int(self.lengths_B.max()) > S:
            raise ShapeError(f"RolloutBatch: a row of {int(self.lengths_B.max())} tokens in tokens_BS of width {S}")
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_BT") and value is not None and value.shape != (B, S - 1):
                raise ShapeError(f"RolloutBatch.{field.name} is {tuple(value.shape)}, expected {(B, S - 1)}")

    @classmethod
    def from_groups(cls, groups: Sequence[Group], temperature: float, updates: int = 1) -> RolloutBatch:
        """Groups of equal size as one batch, row order: group by group, sample by sample."""
        sizes = {len(group.completions) for group in groups}
        if len(sizes) != 1:
            raise ShapeError(f"RolloutBatch.from_groups needs groups of one size, got sizes {sorted(sizes)}")
        rows = [(group.prompt, completion) for group in groups for completion in group.completions]
        lengths = [len(prompt.token_ids) + len(completion.token_ids) for prompt, completion in rows]
        B, S = len(rows), max(lengths)
        tokens_BS = torch.zeros(B, S, dtype=torch.int64)
        sampler_BT = torch.zeros(B, S - 1)
        known = all(completion.logprobs is not None for _, completion in rows)
        for b, (prompt, completion) in enumerate(rows):
            start, end = len(prompt.token_ids), lengths[b]
            tokens_BS[b, :start] = torch.tensor(prompt.token_ids)
            tokens_BS[b, start:end] = torch.from_numpy(completion.token_ids)
            if completion.logprobs is not None:
                sampler_BT[b, start - 1 : end - 1] = torch.from_numpy(completion.logprobs)
        return cls(
            tokens_BS=tokens_BS,
            prompt_lengths_B=torch.tensor([len(prompt.token_ids) for prompt, _ in rows]),
            lengths_B=torch.tensor(lengths),
            rewards_GN=torch.tensor([group.shaped_rewards for group in groups], dtype=torch.float32),
            temperature=temperature,
            domains_B=tuple(prompt.domain for prompt, _ in rows),
            updates=updates,
            sampler_logprobs_BT=sampler_BT if known else None,
            fresh_B=_fresh(groups),
        )

    @property
    def response_mask_BT(self) -> Tensor:
        """bool: the predictions of response tokens, the end token included."""
        target_BT = torch.arange(1, self.tokens_BS.shape[1]).expand(len(self), -1)
        return (target_BT >= self.prompt_lengths_B[:, None]) & (target_BT < self.lengths_B[:, None])

    def __len__(self) -> int:
        return self.tokens_BS.shape[0]

    def with_(self, **tensors: Tensor) -> RolloutBatch:
        """A batch with more known about it.

        `advantages` [G, N] or [B, T]; `old_logprobs`, `reference_logprobs`, `base_logprobs` [B, T].
        """
        named: dict[str, Any] = {f"{name}_BT": tensor for name, tensor in tensors.items()}
        advantages = named.get("advantages_BT")
        if advantages is not None and advantages.shape == self.rewards_GN.shape:
            # One value for every token of a response (Eq. 2 is an advantage of the whole response).
            named["advantages_BT"] = advantages.reshape(-1, 1).expand(-1, self.tokens_BS.shape[1] - 1)
        return replace(self, **named)

    def split(self) -> list[RolloutBatch]:
        """A batch for each update, of equally many whole groups, in order. The groups already come in random order."""
        size = len(self) // self.updates
        return [self.rows(range(part * size, (part + 1) * size)) for part in range(self.updates)]

    def rows(self, indices: Sequence[int]) -> RolloutBatch:
        """Some rows, whole groups or single responses, cut to the longest of them."""
        index = torch.tensor(list(indices))
        S = int(self.lengths_B[index].max())
        N = self.rewards_GN.shape[1]
        rewards = self.rewards_GN.reshape(-1)[index]
        picked: dict[str, Any] = {"tokens_BS": self.tokens_BS[index, :S], "temperature": self.temperature}
        picked["rewards_GN"] = rewards.view(-1, N) if len(index) % N == 0 else rewards.view(-1, 1)
        picked["domains_B"] = tuple(self.domains_B[i] for i in indices)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name.endswith("_BT"):
                picked[field.name] = None if value is None else value[index, : S - 1]
            elif field.name.endswith("_B") and isinstance(value, Tensor):
                picked[field.name] = value[index]
        return RolloutBatch(**picked)


def _fresh(groups: Sequence[Group]) -> Tensor | None:
    """bool [B]; None where no group may have waited."""
    if all(group.steps_waited is None for group in groups):
        return None
    return torch.tensor([not group.steps_waited for group in groups for _ in group.completions])
