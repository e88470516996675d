"""Running a model over rows of tokens: scores without gradients, and losses with them, through Megatron's schedules.

Letters: B rows, S tokens of the longest, T = S - 1 predicted tokens; R rows of one pack (a microbatch), N its scored
predictions, of which n are this rank's where context parallelism cuts the pack. Results never depend on how rows are
packed. The loss is divided once, by the count of all microbatches and data-parallel ranks, as Megatron does it when a
loss function returns (sum, count, metrics): no scaling constant stands anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.pipeline_parallel.schedules import get_forward_backward_func
from torch import Tensor

from nemo_prorl.algorithm.reduction import Mean, Metric, merge, pack, unpack
from nemo_prorl.megatron.microbatch import Microbatches, packer_of
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.packing import Pack
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.token_rows import TokenRows
from nemo_prorl.pulse import PULSE

__all__ = ["Loss", "Schedule", "TokenRows", "TokenScores"]

_LOSS = "loss"  # the loss travels with the metrics under this name


class TokenScores(NamedTuple):
    """Of softmax(logits / temperature), fp32, [B, T]; 0 where nothing is scored."""

    logprobs_BT: Tensor
    entropies_BT: Tensor


# (scores of some rows [R, T], those rows' numbers) -> (their loss, their metrics)
Loss = Callable[[TokenScores, Tensor], tuple[Mean, dict[str, Metric]]]


class Schedule:
    """Forward and forward-backward passes of one model. Every method is collective over the model's ranks."""

    def __init__(self, model: PolicyModel, runtime: Runtime) -> None:
        self._model, self._device = model, runtime.device
        self._run = get_forward_backward_func()
        self._packer = packer_of(model.config, uses_te=model.uses_te)
        self._microbatches = Microbatches(model, runtime.device)
        self._pipeline_group = parallel_state.get_pipeline_model_parallel_group()
        self._data_group = parallel_state.get_data_parallel_group()
        self._context_group = parallel_state.get_context_parallel_group()
        self._is_last_stage = parallel_state.is_pipeline_last_stage()

    @torch.no_grad()
    def score(self, rows: TokenRows, temperature: float) -> TokenScores:
        """Logprobs and entropies of every row, on every rank of the model.

        They are, bit for bit, those that `train` computes from the same weights for each of the rows' parts.
        """
        B, S = rows.tokens_BS.shape
        both_2BT = torch.zeros(2, B, S - 1, device=self._device)
        for numbers, part in rows.each_part():
            self._score_part(part, temperature, both_2BT[:, numbers])
        if self._pipeline_group.size() > 1:
            dist.broadcast(both_2BT, src=self._last_stage, group=self._pipeline_group)
        return TokenScores(both_2BT[0], both_2BT[1])

    def _score_part(self, part: TokenRows, temperature: float, into_2BT: Tensor) -> None:
        def keep(scores: TokenScores, indices: Tensor) -> tuple[Mean, dict[str, Metric]]:
            width = scores.logprobs_BT.shape[1]
            into_2BT[:, indices.to(self._device), :width] = torch.stack(scores)
            return Mean(torch.zeros((), device=self._device), torch.ones((), dtype=torch.int64)), {}

        self._pass(part, temperature, keep, forward_only=True)

    def train(
        self, rows: TokenRows, temperature: float, loss: Loss, *, forward_only: bool = False
    ) -> tuple[Mean, dict[str, Metric]]:
        """The loss of all rows and its metrics, reduced over microbatches and data-parallel ranks, on every rank.

        `loss` is called with a microbatch's scores and its rows' numbers, on the last stage; gradients of the mean
        loss are added to the gradient buffers unless `forward_only`.
        """
        with torch.set_grad_enabled(not forward_only):
            parts = self._pass(rows, temperature, loss, forward_only=forward_only)
        metrics = self._over_ranks(merge(*parts))
        mean = metrics.pop(_LOSS)
        assert isinstance(mean, Mean)
        return mean, metrics

    def _pass(self, rows: TokenRows, temperature: float, loss: Loss, *, forward_only: bool) -> list[dict[str, Metric]]:
        packs = self._packs(rows)

        def step(iterator: Iterator[Pack], chunk: Any) -> tuple[Tensor, Callable[..., Any]]:
            PULSE.beat()
            microbatch = self._microbatches.of(next(iterator), temperature)
            output = chunk(microbatch.tokens_1l, microbatch.positions_1l, None, packed_seq_params=microbatch.packed)

            def finish(scores_2n: Tensor) -> tuple[Tensor, Tensor, dict[str, Metric]]:
                found = microbatch.pack
                if not len(found.rows_R):
                    return scores_2n.sum() * 0.0, self._count(0), {}
                logprobs_N, entropies_N = microbatch.whole(scores_2n)
                scores = TokenScores(found.spread(logprobs_N), found.spread(entropies_N))
                mean, metrics = loss(scores, found.rows_R)
                # Context-parallel ranks all know the whole loss; its tokens count once.
                count = int(mean.count) if self._context_group.rank() == 0 else 0
                return mean.total, self._count(count), {**metrics, _LOSS: Mean(mean.total.detach(), mean.count)}

            return output, finish

        for chunk in self._model.chunks:
            chunk.train(not forward_only)
        iterators = [iter(packs) for _ in self._model.chunks]
        parts = self._run(
            forward_step_func=step,
            data_iterator=iterators if len(iterators) > 1 else iterators[0],
            model=self._model.chunks,
            num_microbatches=len(packs),
            seq_length=max(len(found.tokens_L) for found in packs),
            micro_batch_size=1,
            forward_only=forward_only,
        )
        return [part for part in parts if part]

    def _packs(self, rows: TokenRows) -> list[Pack]:
        packs = self._packer.packs(rows)
        if len(self._model.chunks) == 1:
            return packs
        # The interleaved schedule passes microbatches around in rounds of as many as there are stages, and its ranks
        # can't tell each other shapes: each would wait for the other's (p2p_communication.py:301, 2 stages).
        packs += [self._packer.empty_pack()] * (-len(packs) % self._pipeline_group.size())
        longest = max(len(found.tokens_L) for found in packs)
        return [found.filled(longest) for found in packs]

    def _count(self, tokens: int) -> Tensor:
        """As Megatron wants it: it adds up in place, and divides gradients by the sum at the end."""
        return torch.tensor(tokens, dtype=torch.int32, device=self._device)

    @property
    def _last_stage(self) -> int:
        return dist.get_global_rank(self._pipeline_group, self._pipeline_group.size() - 1)

    def _over_ranks(self, metrics: dict[str, Metric]) -> dict[str, Metric]:
        """The last stage's metrics, over data-parallel ranks, on every stage."""
        reduced: dict[str, Metric] = {}
        if self._is_last_stage:
            sums, maxes, layout = pack(metrics)
            for vector, operation in ((sums, dist.ReduceOp.SUM), (maxes, dist.ReduceOp.MAX)):
                if len(vector) and self._data_group.size() > 1:
                    dist.all_reduce(vector, op=operation, group=self._data_group)
            reduced = unpack(sums.cpu(), maxes.cpu(), layout)
        if self._pipeline_group.size() > 1:
            box = [reduced]
            dist.broadcast_object_list(box, src=self._last_stage, group=self._pipeline_group)
            reduced = box[0]
        return reduced
