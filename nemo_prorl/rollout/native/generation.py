"""The sampling loop: rows that are finished leave the batch, and jobs that wait come in.

Letters: B rows under generation, T tokens of the longest response there can be, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.rollout.decoding import Decoded, Job, check_finite
from nemo_prorl.rollout.native.attention import ResponseCache
from nemo_prorl.rollout.native.decoder import Decoder
from nemo_prorl.rollout.native.prompts import ReadPrompt, read_prompts
from nemo_prorl.rollout.token_draw import draw_tokens, uniform_stream

CHANGE_AT = 8  # rows leave and come when an eighth of the batch is done: those that stay are copied together then


class Rows:
    """What is known of each row under generation, besides its keys and values. `done_B` rows are in it until `keep`."""

    def __init__(self, longest: int) -> None:
        self.jobs: list[Job] = []
        self.drawn_B = np.empty(0, dtype=np.int64)
        self.last_B = np.empty(0, dtype=np.int64)
        self.done_B = np.empty(0, dtype=np.bool_)
        self.tokens_BT = np.empty((0, longest), dtype=np.int32)
        self.logprobs_BT = np.empty((0, longest), dtype=np.float32)
        self.uniform_BT = np.empty((0, longest), dtype=np.float32)
        self._derive()

    def __len__(self) -> int:
        return len(self.jobs)

    def keep(self, kept_B: NDArray[np.bool_]) -> None:
        """Only these go on; their order stays."""
        self.jobs = [job for job, kept in zip(self.jobs, kept_B, strict=True) if kept]
        for name in ("drawn_B", "last_B", "done_B", "tokens_BT", "logprobs_BT", "uniform_BT"):
            setattr(self, name, getattr(self, name)[kept_B])
        self._derive()

    def append(self, jobs: Sequence[Job], *, greedy: bool) -> None:
        """New ones, after all others."""
        uniform_BT = np.zeros((len(jobs), self.uniform_BT.shape[1]), dtype=np.float32)
        for row, job in enumerate(jobs):
            if not greedy:
                uniform_BT[row, : job.room] = uniform_stream(job.seed, job.room)
        self.jobs = [*self.jobs, *jobs]
        self.uniform_BT = np.concatenate([self.uniform_BT, uniform_BT])
        for name in ("drawn_B", "last_B", "done_B", "tokens_BT", "logprobs_BT"):
            old = getattr(self, name)
            setattr(self, name, np.concatenate([old, np.zeros((len(jobs), *old.shape[1:]), dtype=old.dtype)]))
        self._derive()

    def _derive(self) -> None:
        self.room_B = np.array([job.room for job in self.jobs], dtype=np.int64)
        self.prompt_length_B = np.array([len(job.token_ids) for job in self.jobs], dtype=np.int64)


class Generation:
    """All jobs of a call, at most `most_rows` under way at once. Iterate over it once."""

    def __init__(
        self,
        decoder: Decoder,
        jobs: Sequence[Job],
        sampling: SamplingParams,
        *,
        stop_V: NDArray[np.bool_],
        most_rows: int,
    ) -> None:
        self._decoder, self._sampling, self._stop_V, self._most_rows = decoder, sampling, stop_V, most_rows
        self._waiting = list(jobs)[::-1]
        longest = max(job.room for job in jobs)
        self._rows = Rows(longest)
        self._cache = ResponseCache(decoder.of, min(most_rows, len(jobs)), longest)
        self._rotation_PD = decoder.rotations(max(len(job.token_ids) + job.room for job in jobs))
        self._newest_prompt: tuple[int, ReadPrompt] | None = None  # its samples may come in at several times

    def __iter__(self) -> Iterator[Decoded]:
        while True:
            while CHANGE_AT * self._rows.done_B.sum() >= len(self._rows):
                if not self._waiting and self._rows.done_B.all():
                    return
                yield from self._change_rows()
            yield from self._go_on()

    @torch.inference_mode()
    def _change_rows(self) -> list[Decoded]:
        """Let finished rows go, take in jobs that wait and draw their first tokens; what is finished by those."""
        staying_B = ~self._rows.done_B
        self._rows.keep(staying_B)
        self._cache.keep(staying_B)
        stayed = len(self._rows)
        jobs = [self._waiting.pop() for _ in range(min(self._most_rows - stayed, len(self._waiting)))]
        if not jobs:
            return []
        self._rows.append(jobs, greedy=self._sampling.temperature == 0)
        prompts = self._read({job.prompt: job.token_ids for job in jobs})
        for job in jobs:
            self._cache.admit(prompts[job.prompt])
        return self._draw(torch.stack([prompts[job.prompt].logits for job in jobs]), np.arange(stayed, len(self._rows)))

    def _read(self, wanted: dict[int, tuple[int, ...]]) -> dict[int, ReadPrompt]:
        known = dict([self._newest_prompt] if self._newest_prompt else [])
        new = {index: ids for index, ids in wanted.items() if index not in known}
        known |= zip(new, read_prompts(self._decoder, self._rotation_PD, list(new.values())), strict=True)
        newest = next(reversed(wanted))
        self._newest_prompt = newest, known[newest]
        return known

    @torch.inference_mode()
    def _go_on(self) -> list[Decoded]:
        """Read the tokens just drawn and draw the next ones; what is finished by those."""
        rows = self._rows
        self._cache.begin_step()
        position_B = torch.from_numpy(rows.prompt_length_B + rows.drawn_B - 1)
        x_BH = self._decoder.read(torch.from_numpy(rows.last_B), self._rotation_PD[position_B], self._cache)
        return self._draw(self._decoder.logits(x_BH), np.arange(len(rows)))

    def _draw(self, logits_BV: Tensor, at_B: NDArray[np.int64]) -> list[Decoded]:
        """Draw a token for each of the rows `at_B`; returns those that are finished by it."""
        rows, s = self._rows, self._sampling
        done_B = rows.done_B[at_B]
        column_B = rows.drawn_B[at_B] - done_B  # a done row draws its last one again, and nobody looks
        uniform_B = torch.from_numpy(rows.uniform_BT[at_B, column_B])
        tokens, logprobs = draw_tokens(logits_BV, uniform_B, temperature=s.temperature, top_k=s.top_k, top_p=s.top_p)
        check_finite(logprobs)
        token_B = tokens.numpy()
        rows.last_B[at_B] = token_B
        rows.tokens_BT[at_B, column_B] = token_B
        rows.logprobs_BT[at_B, column_B] = logprobs.numpy()
        rows.drawn_B[at_B] = column_B + 1
        stopped_B = self._stop_V[token_B]
        finished_B = (stopped_B | (column_B + 1 >= rows.room_B[at_B])) & ~done_B
        rows.done_B[at_B] |= finished_B
        return [
            Decoded(
                rows.jobs[row],
                rows.tokens_BT[row, : rows.drawn_B[row]].copy(),
                rows.logprobs_BT[row, : rows.drawn_B[row]].copy(),
                bool(stopped),
            )
            for row, stopped in zip(at_B[finished_B], stopped_B[finished_B], strict=True)
        ]
