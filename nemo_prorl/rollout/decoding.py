"""The sampling loop: one batch of completions, token by token, over any model that can go on from a cache.

Letters: B rows still under generation, N rows at the start, T response tokens, S columns of the prompts, V vocabulary.
Everything that happens at each token happens to the whole batch at once; only a finished row costs Python.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.data.trajectory import Completion
from nemo_prorl.errors import RolloutError
from nemo_prorl.rollout.engine import Sampled
from nemo_prorl.rollout.kv_cache import KeyValueCache
from nemo_prorl.rollout.token_draw import draw_tokens, uniform_stream

PROMPT_TOKENS_A_PASS = 8192  # bounds the memory of reading prompts

# (tokens [B, S], positions [B, S], additive mask that expands to [B, 1, S, L], cache) -> logits after the last column
Forward = Callable[[Tensor, Tensor, Tensor, KeyValueCache], Tensor]


class Job(NamedTuple):
    """One completion to be sampled: `prompt` and `sample` count from 0 in the call, `room` is its longest length."""

    prompt: int
    sample: int
    token_ids: tuple[int, ...]
    room: int
    seed: int


class Decoded(NamedTuple):
    """A finished job: int32 [T] with the end token kept, float32 [T] if known, and whether it ended by itself."""

    job: Job
    token_ids: NDArray[np.int32]
    logprobs: NDArray[np.float32] | None
    stopped: bool

    def sampled(self, tokenizer: Tokenizer) -> Sampled:
        """As an engine hands it out."""
        text = tokenizer.decode(self.token_ids.tolist())
        completion = Completion(self.token_ids, self.logprobs, "stop" if self.stopped else "length", text)
        return Sampled(self.job.prompt, self.job.sample, completion)


def check_room(prompts: Sequence[Prompt], sampling: SamplingParams) -> None:
    """Refuse prompts that leave no room for a response.

    Raises:
        RolloutError: naming the prompt, the lengths and what to set.
    """
    for prompt in prompts:
        if sampling.response_room(len(prompt.token_ids)) < 1:
            raise RolloutError(
                f"prompt {prompt.uid!r} of {prompt.source!r} has {len(prompt.token_ids)} tokens and context_tokens="
                f"{sampling.context_tokens}, which leaves no room for a response. Raise the stage's context_tokens, or "
                f"lower data.max_prompt_tokens below it with data.long_prompts=skip."
            )


def jobs_of(prompts: Sequence[Prompt], sampling: SamplingParams) -> list[Job]:
    """All jobs of a call; samples of a prompt follow one another."""
    return [
        Job(
            index,
            sample,
            prompt.token_ids,
            sampling.response_room(len(prompt.token_ids)),
            sampling.completion_seed(prompt.uid, sample),
        )
        for index, prompt in enumerate(prompts)
        for sample in range(sampling.samples_per_prompt)
    ]


def check_finite(logprob_B: Tensor) -> None:
    """Refuse to go on with logits that are not numbers.

    Raises:
        RolloutError: a logprob is not finite; it says what to look at.
    """
    if not bool(logprob_B.isfinite().all()):
        raise RolloutError(
            "the rollout engine's logits are not finite numbers, so the weights it was given are broken. Look at "
            "optimizer/grad_norm and kl/reference of the last steps; lower optimizer.lr, resume earlier."
        )


def batches(prompts: Sequence[Prompt], sampling: SamplingParams, max_rows: int) -> Iterator[list[Job]]:
    """All jobs of a call, prompts of like length together, at most `max_rows` a batch."""
    jobs = sorted(jobs_of(prompts, sampling), key=lambda job: len(job.token_ids))
    for start in range(0, len(jobs), max_rows):
        yield jobs[start : start + max_rows]


class Decoding:
    """One batch of jobs. Iterate over it once; what is finished comes as soon as it is."""

    def __init__(
        self,
        forward: Forward,
        jobs: Sequence[Job],
        sampling: SamplingParams,
        *,
        stop_V: Tensor,
        pad_id: int,
        mask_dtype: torch.dtype,
        make_cache: Callable[[int, int, int], KeyValueCache] = KeyValueCache,
    ) -> None:
        self._forward, self._jobs, self._sampling, self._stop_V, self._pad_id = forward, jobs, sampling, stop_V, pad_id
        device = stop_V.device
        # Every distinct prompt once, in the order of its rows.
        self._prompts = list(dict.fromkeys((job.prompt, job.token_ids) for job in jobs))
        place = {prompt: i for i, (prompt, _) in enumerate(self._prompts)}
        self._prompt_of_row_N = torch.tensor([place[job.prompt] for job in jobs])
        self._prompt_length_N = torch.tensor([len(job.token_ids) for job in jobs], device=device)
        self._room_N = torch.tensor([job.room for job in jobs], device=device)
        self._shortest_room = int(self._room_N.min())
        self._width, most = max(len(job.token_ids) for job in jobs), max(job.room for job in jobs)
        self._tokens_TN = torch.empty(most, len(jobs), dtype=torch.int32, device=device)
        self._logprobs_TN = torch.empty(most, len(jobs), dtype=torch.float32, device=device)
        self._uniform_TN = torch.zeros(most, len(jobs), device=device)
        if sampling.temperature > 0:
            for row, job in enumerate(jobs):
                self._uniform_TN[: job.room, row] = torch.from_numpy(uniform_stream(job.seed, job.room))
        self._mask = _PaddingMask(self._width - self._prompt_length_N, self._width + most, mask_dtype)
        self._cache = make_cache(len(jobs), self._width, self._width + most)
        self._rows_B = torch.arange(len(jobs), device=device)  # the job of each row of the cache
        self._last_B = torch.empty(0, dtype=torch.int64)
        self._drawn = 0

    def __iter__(self) -> Iterator[Decoded]:
        logits_BV = self._read_prompts()
        while True:
            yield from self._draw(logits_BV)
            if not len(self._rows_B):
                return
            logits_BV = self._go_on()

    @torch.inference_mode()
    def _read_prompts(self) -> Tensor:
        """Each prompt once, left-padded to the batch's width; logits of every row, [N, V]."""
        device, logits = self._stop_V.device, []
        at_once = max(1, PROMPT_TOKENS_A_PASS // self._width)
        for start in range(0, len(self._prompts), at_once):
            part = self._prompts[start : start + at_once]
            tokens = [[self._pad_id] * (self._width - len(ids)) + list(ids) for _, ids in part]
            padding_G = torch.tensor([self._width - len(ids) for _, ids in part], device=device)
            position_GS = (torch.arange(self._width, device=device) - padding_G[:, None]).clamp(min=0)
            rows_N = ((self._prompt_of_row_N >= start) & (self._prompt_of_row_N < start + len(part))).nonzero()[:, 0]
            rows = slice(int(rows_N[0]), int(rows_N[-1]) + 1)
            of_row = (self._prompt_of_row_N[rows] - start).to(device)
            self._cache.reading(rows, of_row)
            mask = _reading_mask(padding_G, self._width, self._mask.dtype)
            logits.append(self._forward(torch.tensor(tokens, device=device), position_GS, mask, self._cache)[of_row])
        return torch.cat(logits)

    @torch.inference_mode()
    def _go_on(self) -> Tensor:
        """Read the tokens just drawn; logits of the next ones, [B, V]."""
        self._cache.extend()
        position_B1 = (self._prompt_length_N[self._rows_B] + (self._drawn - 1))[:, None]
        return self._forward(self._last_B[:, None], position_B1, self._mask.first(self._cache.length), self._cache)

    @torch.inference_mode()
    def _draw(self, logits_BV: Tensor) -> list[Decoded]:
        """Draw a token for every row; returns the rows that are finished by it and lets them go."""
        rows_B, t = self._rows_B, self._drawn
        s = self._sampling
        token_B, logprob_B = draw_tokens(
            logits_BV, self._uniform_TN[t, rows_B], temperature=s.temperature, top_k=s.top_k, top_p=s.top_p
        )
        check_finite(logprob_B)
        self._tokens_TN[t, rows_B] = token_B.int()
        self._logprobs_TN[t, rows_B] = logprob_B
        self._last_B, self._drawn = token_B, t + 1
        stopped_B = self._stop_V[token_B]
        finished_B = stopped_B
        if self._drawn >= self._shortest_room:
            finished_B = stopped_B | (self._room_N[rows_B] <= self._drawn)
        if not bool(finished_B.any()):
            return []
        decoded = [
            Decoded(
                self._jobs[row],
                self._tokens_TN[: self._drawn, row].cpu().numpy().copy(),
                self._logprobs_TN[: self._drawn, row].cpu().numpy().copy(),
                stopped,
            )
            for row, stopped in zip(rows_B[finished_B].tolist(), stopped_B[finished_B].tolist(), strict=True)
        ]
        self._let_go(finished_B)
        return decoded

    def _let_go(self, finished_B: Tensor) -> None:
        """Fill the places of finished rows with rows from the end, so that those that go on stand first."""
        left = int((~finished_B).sum())
        targets = finished_B[:left].nonzero()[:, 0]
        sources = (~finished_B[left:]).nonzero()[:, 0] + left
        self._cache.move(sources, targets, left)
        self._mask.move(sources, targets, left)
        for name in ("_rows_B", "_last_B"):
            tensor = getattr(self, name).clone()
            tensor[targets] = tensor[sources]
            setattr(self, name, tensor[:left])


class _PaddingMask:
    """What is added to attention scores so that no row sees its padding, [B, 1, 1, L]; one row for all without any."""

    def __init__(self, padding_B: Tensor, columns: int, dtype: torch.dtype) -> None:
        self.dtype = dtype
        column_L = torch.arange(columns, device=padding_B.device)
        rows = padding_B if bool(padding_B.any()) else padding_B[:1]
        self._mask = _additive(column_L >= rows[:, None], dtype)[:, None, None]
        self._rows = len(rows)

    def first(self, columns: int) -> Tensor:
        return self._mask[: self._rows, :, :, :columns]

    def move(self, sources: Tensor, targets: Tensor, rows: int) -> None:
        if len(self._mask) > 1:
            self._mask[targets] = self._mask[sources]
            self._rows = rows


def _reading_mask(padding_G: Tensor, width: int, dtype: torch.dtype) -> Tensor:
    """Causal, and blind to padding, [G, 1, S, S]."""
    column_S = torch.arange(width, device=padding_G.device)
    visible_GSS = (column_S[:, None] >= column_S) & (column_S >= padding_G[:, None, None])
    return _additive(visible_GSS, dtype)[:, None]


def _additive(visible: Tensor, dtype: torch.dtype) -> Tensor:
    # The lowest number instead of -inf: a padding column sees nothing, and softmax over nothing would not be a number.
    lowest = torch.finfo(dtype).min
    return torch.zeros(visible.shape, dtype=dtype, device=visible.device).masked_fill_(~visible, lowest)
