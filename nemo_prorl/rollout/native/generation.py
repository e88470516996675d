"""The sampling loop: rows that are finished leave the batch, and jobs that wait come in.

Letters: R rows that there is room for, B of them under generation, T tokens of the longest response there can be, V
vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.rollout.decoding import Decoded, Job, check_finite
from nemo_prorl.rollout.native.cache import ResponseCache
from nemo_prorl.rollout.native.decoder import Decoder
from nemo_prorl.rollout.native.prompts import ReadPrompt, read_prompts
from nemo_prorl.rollout.native.weights import rotary_turns
from nemo_prorl.rollout.token_draw import draw_tokens, uniform_stream

ADMIT_AT = 8  # jobs come in when an eighth of the rows is free: prompts are read faster together


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
        self._decoder, self._sampling, self._stop_V = decoder, sampling, stop_V
        self._waiting = list(reversed(jobs))
        rows, longest = min(most_rows, len(jobs)), max(job.room for job in jobs)
        self._turn_PD = rotary_turns(decoder.of, max(len(job.token_ids) + job.room for job in jobs))
        self._cache = ResponseCache(decoder.of, decoder.kernels, rows, longest)
        self._newest_prompt: tuple[int, ReadPrompt] | None = None  # its samples may come in at several times
        self._job_R: list[Job | None] = [None] * rows
        self._row_B = np.empty(0, dtype=np.int64)  # in the order of admission
        self._prompt_length_R, self._room_R, self._drawn_R, self._last_R = np.zeros((4, rows), dtype=np.int64)
        self._tokens_RT = np.empty((rows, longest), dtype=np.int32)
        self._logprobs_RT = np.empty((rows, longest), dtype=np.float32)
        self._uniform_RT = np.zeros((rows, longest), dtype=np.float32)

    def __iter__(self) -> Iterator[Decoded]:
        rows = len(self._job_R)
        while True:
            while self._waiting and ADMIT_AT * (rows - len(self._row_B)) >= rows:
                yield from self._admit()
            if not len(self._row_B):
                return
            yield from self._go_on()

    @torch.inference_mode()
    def _admit(self) -> list[Decoded]:
        """Give free rows to jobs that wait and draw their first tokens; what is finished by those."""
        free = [row for row, job in enumerate(self._job_R) if job is None][: len(self._waiting)]
        jobs = [self._waiting.pop() for _ in free]
        prompts = self._read({job.prompt: job.token_ids for job in jobs})
        for row, job in zip(free, jobs, strict=True):
            self._cache.admit(row, prompts[job.prompt])
            self._job_R[row] = job
            self._prompt_length_R[row], self._room_R[row], self._drawn_R[row] = len(job.token_ids), job.room, 0
            if self._sampling.temperature > 0:
                self._uniform_RT[row, : job.room] = uniform_stream(job.seed, job.room)
        row_B = np.array(free)
        self._row_B = np.concatenate([self._row_B, row_B])
        return self._draw(torch.stack([prompts[job.prompt].logits for job in jobs]), row_B)

    def _read(self, wanted: dict[int, tuple[int, ...]]) -> dict[int, ReadPrompt]:
        known = dict([self._newest_prompt] if self._newest_prompt else [])
        new = {index: ids for index, ids in wanted.items() if index not in known}
        known |= zip(new, read_prompts(self._decoder, self._turn_PD, list(new.values())), strict=True)
        newest = next(reversed(wanted))
        self._newest_prompt = newest, known[newest]
        return known

    @torch.inference_mode()
    def _go_on(self) -> list[Decoded]:
        """Read the tokens just drawn and draw the next ones; what is finished by those."""
        row_B = self._row_B
        self._cache.begin_step(row_B)
        position_B = torch.from_numpy(self._prompt_length_R[row_B] + self._drawn_R[row_B] - 1)
        x_BH = self._decoder.read(torch.from_numpy(self._last_R[row_B]), self._turn_PD[position_B], self._cache)
        return self._draw(self._decoder.logits(x_BH), row_B)

    def _draw(self, logits_BV: Tensor, row_B: NDArray[np.int64]) -> list[Decoded]:
        """Draw a token for each of the rows; those that are finished by it leave and are returned."""
        s, t_B = self._sampling, self._drawn_R[row_B]
        uniform_B = torch.from_numpy(self._uniform_RT[row_B, t_B])
        if s.temperature == 0 or s.top_k or s.top_p < 1:
            tokens, logprobs = draw_tokens(
                logits_BV, uniform_B, temperature=s.temperature, top_k=s.top_k, top_p=s.top_p
            )
        else:
            tokens, logprobs = self._decoder.kernels.draw(logits_BV, uniform_B, s.temperature)
        check_finite(logprobs)
        token_B = tokens.numpy()
        self._tokens_RT[row_B, t_B], self._logprobs_RT[row_B, t_B] = token_B, logprobs.numpy()
        self._last_R[row_B], self._drawn_R[row_B] = token_B, t_B + 1
        stopped_B = self._stop_V[token_B]
        finished_B = stopped_B | (t_B + 1 >= self._room_R[row_B])
        if not finished_B.any():
            return []
        leaving = row_B[finished_B]
        self._row_B = self._row_B[~np.isin(self._row_B, leaving)]
        return [self._leave(row, bool(stopped)) for row, stopped in zip(leaving, stopped_B[finished_B], strict=True)]

    def _leave(self, row: int, stopped: bool) -> Decoded:
        job, drawn = self._job_R[row], self._drawn_R[row]
        assert job is not None
        self._job_R[row] = None
        self._cache.release(row)
        return Decoded(job, self._tokens_RT[row, :drawn].copy(), self._logprobs_RT[row, :drawn].copy(), stopped)
