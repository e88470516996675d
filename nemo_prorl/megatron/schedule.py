"""Running a model over rows of tokens: scores without gradients, and losses with them, through Megatron's schedules.

Letters: B rows, S tokens of the longest, T = S - 1 predicted tokens. Rows are cut into microbatches of similar length;
results never depend on how. The loss is divided once, by the count of all microbatches and data-parallel ranks, as
Megatron does it when a loss function returns (sum, count, metrics): no scaling constant stands anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from megatron.core import parallel_state
from megatron.core.pipeline_parallel.schedules import get_forward_backward_func
from torch import Tensor

from nemo_prorl.algorithm.reduction import Mean, Metric, merge, pack, unpack
from nemo_prorl.errors import ShapeError
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.vocab_parallel import logprobs_and_entropies

_LOSS = "loss"  # the loss travels with the metrics under this name


@dataclass(frozen=True)
class TokenRows:
    """Right-padded rows. With `prompt_lengths_B` the predictions of prompt tokens are not scored (and stay 0)."""

    tokens_BS: Tensor
    lengths_B: Tensor
    prompt_lengths_B: Tensor | None = None

    def __post_init__(self) -> None:
        if self.tokens_BS.dim() != 2 or self.lengths_B.shape != self.tokens_BS.shape[:1]:
            raise ShapeError(
                f"TokenRows: tokens_BS is {tuple(self.tokens_BS.shape)}, lengths_B {tuple(self.lengths_B.shape)}"
            )
        if not self.tokens_BS.numel():
            raise ShapeError("TokenRows: no rows at all; every data-parallel rank needs at least one")

    @property
    def scored_BT(self) -> Tensor:
        """bool: predictions of real tokens, after the prompt where its length is known."""
        target_T = torch.arange(1, self.tokens_BS.shape[1])
        first_B = torch.ones_like(self.lengths_B) if self.prompt_lengths_B is None else self.prompt_lengths_B
        return (target_T >= first_B[:, None]) & (target_T < self.lengths_B[:, None])


class TokenScores(NamedTuple):
    """Of softmax(logits / temperature), fp32, [B, T]; 0 where nothing is scored."""

    logprobs_BT: Tensor
    entropies_BT: Tensor


Loss = Callable[[TokenScores, Tensor], tuple[Mean, dict[str, Metric]]]


@dataclass(frozen=True)
class _Microbatch:
    """Some rows, cut to the longest of them."""

    indices: Tensor
    tokens_BS: Tensor
    scored_BT: Tensor


class Schedule:
    """Forward and forward-backward passes of one model. Every method is collective over the model's ranks."""

    def __init__(self, model: PolicyModel, runtime: Runtime) -> None:
        self._model, self._device = model, runtime.device
        self._run = get_forward_backward_func()
        self._tensor_group = parallel_state.get_tensor_model_parallel_group()
        self._pipeline_group = parallel_state.get_pipeline_model_parallel_group()
        self._data_group = parallel_state.get_data_parallel_group()
        self._is_last_stage = parallel_state.is_pipeline_last_stage()

    @torch.no_grad()
    def score(self, rows: TokenRows, temperature: float) -> TokenScores:
        """Logprobs and entropies of every row, on every rank of the model."""
        B, S = rows.tokens_BS.shape
        both = torch.zeros(2, B, S - 1, device=self._device)

        def keep(scores: TokenScores, indices: Tensor) -> tuple[Mean, dict[str, Metric]]:
            width = scores.logprobs_BT.shape[1]
            both[:, indices.to(self._device), :width] = torch.stack(scores)
            return Mean(torch.zeros((), device=self._device), torch.ones((), dtype=torch.int64)), {}

        self._pass(rows, temperature, keep, forward_only=True)
        if self._pipeline_group.size() > 1:
            dist.broadcast(both, src=self._last_stage, group=self._pipeline_group)
        return TokenScores(both[0], both[1])

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
        microbatches = list(self._microbatches(rows))

        def step(iterator: Iterator[_Microbatch], chunk: Any) -> tuple[Tensor, Callable[..., Any]]:
            microbatch = next(iterator)
            tokens_BS = microbatch.tokens_BS.to(self._device)
            positions_BS = torch.arange(tokens_BS.shape[1], device=self._device).expand_as(tokens_BS)
            with self._only_scored(microbatch):
                output = chunk(tokens_BS, positions_BS, None)

            def finish(logits_1NV: Tensor) -> tuple[Tensor, Tensor, dict[str, Metric]]:
                mean, metrics = loss(self._scores(logits_1NV[0], microbatch, temperature), microbatch.indices)
                # Megatron adds the count in place to an int32 on this device, and divides gradients by it at the end.
                count = mean.count.to(self._device, torch.int32)
                return mean.total, count, {**metrics, _LOSS: Mean(mean.total.detach(), mean.count)}

            return output, finish

        for chunk in self._model.chunks:
            chunk.train(not forward_only)
        return self._run(  # type: ignore[no-any-return]
            forward_step_func=step,
            data_iterator=iter(microbatches),
            model=self._model.chunks,
            num_microbatches=len(microbatches),
            seq_length=max(microbatch.tokens_BS.shape[1] for microbatch in microbatches),
            micro_batch_size=self._model.config.sequences_per_microbatch,
            forward_only=forward_only,
        )

    def _microbatches(self, rows: TokenRows) -> Iterator[_Microbatch]:
        """Rows of similar length together, so that little is padding."""
        order = torch.argsort(rows.lengths_B, stable=True)
        scored_BT = rows.scored_BT
        for indices in order.split(self._model.config.sequences_per_microbatch):
            width = int(rows.lengths_B[indices].max())
            yield _Microbatch(indices, rows.tokens_BS[indices, :width], scored_BT[indices, : width - 1])

    @contextmanager
    def _only_scored(self, microbatch: _Microbatch) -> Iterator[None]:
        """Inside, the output layer sees only what stands before a scored token: other logits are never computed."""
        if not self._is_last_stage:
            yield
            return
        scored_BT = microbatch.scored_BT.to(self._device)

        def select(_: Any, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
            hidden_SBH, *others = arguments
            return (hidden_SBH.transpose(0, 1)[:, :-1][scored_BT].unsqueeze(1), *others)

        handle = self._model.gpt.output_layer.register_forward_pre_hook(select)
        try:
            yield
        finally:
            handle.remove()

    def _scores(self, logits_NV: Tensor, microbatch: _Microbatch, temperature: float) -> TokenScores:
        """From the N scored tokens, row by row, back to [B, T]."""
        scored_BT = microbatch.scored_BT.to(self._device)
        logprobs_N, entropies_N = logprobs_and_entropies(
            logits_NV,
            microbatch.tokens_BS[:, 1:][microbatch.scored_BT].to(self._device),
            temperature=temperature,
            vocab_size=self._model.architecture.vocab_size,
            group=self._tensor_group,
        )
        empty_BT = torch.zeros(scored_BT.shape, device=self._device)
        return TokenScores(
            empty_BT.masked_scatter(scored_BT, logprobs_N), empty_BT.masked_scatter(scored_BT, entropies_N)
        )

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
