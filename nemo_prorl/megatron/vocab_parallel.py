"""Logprobs and entropy of a vocabulary that is cut over tensor-parallel ranks.

Letters: N scored tokens, V columns of the vocabulary held by this rank. Everything is fp32, whatever the logits' dtype.
Logits are divided by the sampling temperature first: a logprob at another temperature is another policy's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

_ABSENT = -1e30  # the logit of a column that only pads the vocabulary; finite, so that 0 * _ABSENT is 0


def logprobs_and_entropies(
    logits_NV: Tensor,
    targets_N: Tensor,
    *,
    temperature: float,
    vocab_size: int,
    group: dist.ProcessGroup | None,
    chunk_elements: int = 1 << 22,
) -> tuple[Tensor, Tensor]:
    """log softmax(logits / temperature) at the targets, and the entropy of that distribution, both [N] fp32.

    logits_NV       this rank's columns; those that pad the vocabulary beyond `vocab_size` are left out of the softmax
    targets_N       token ids of the whole vocabulary
    group           the tensor-parallel ranks; None for one
    chunk_elements  how large an intermediate [rows, V] may get; changes memory and speed alone

    Differentiable in the logits through both results, once: backward overwrites the logits with their gradient, so
    that no second [N, V] tensor ever exists.
    """
    height = max(1, chunk_elements // logits_NV.shape[1])
    return _Scores.apply(  # type: ignore[no-any-return]
        logits_NV, targets_N, 1.0 / temperature, vocab_size, group, height
    )


class _Scores(torch.autograd.Function):
    """Rows are taken in chunks; backward computes the probabilities again instead of keeping them."""

    @staticmethod
    def forward(
        ctx: Any,
        logits_NV: Tensor,
        targets_N: Tensor,
        inverse_temperature: float,
        vocab_size: int,
        group: dist.ProcessGroup | None,
        height: int,
    ) -> tuple[Tensor, Tensor]:
        width = logits_NV.shape[1]
        first = width * (group.rank() if group is not None else 0)
        absent_from = max(0, vocab_size - first)
        local_N = targets_N - first
        held_N = (local_N >= 0) & (local_N < width)
        local_N = local_N.clamp(0, width - 1)

        peak_N = torch.empty(len(logits_NV), device=logits_NV.device)
        sums_3N = torch.empty(3, len(logits_NV), device=logits_NV.device)  # of exp(y), of y exp(y), and y's target
        for rows in _chunks(logits_NV, height):
            x_NV = _scaled(logits_NV[rows], inverse_temperature, absent_from)
            peak_N[rows] = x_NV.amax(dim=1)
            y_NV = x_NV.sub_(peak_N[rows, None])
            sums_3N[2, rows] = y_NV.gather(1, local_N[rows, None])[:, 0]
            e_NV = y_NV.exp()
            sums_3N[0, rows] = e_NV.sum(dim=1)
            sums_3N[1, rows] = torch.linalg.vecdot(e_NV, y_NV)
        total_N, weighted_N, target_N = _over_ranks(sums_3N, peak_N, held_N, group)
        log_total_N = total_N.log()
        logprobs_N, entropies_N = target_N - log_total_N, log_total_N - weighted_N / total_N
        ctx.save_for_backward(logits_NV, local_N, held_N, peak_N + log_total_N, entropies_N)
        ctx.inverse_temperature, ctx.absent_from, ctx.height = inverse_temperature, absent_from, height
        return logprobs_N, entropies_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """d logprob / d x = onehot - p; d entropy / d x = -p (log p + entropy); x = logits / temperature."""
        grad_logprobs_N, grad_entropies_N = gradients
        logits_NV, local_N, held_N, log_total_N, entropies_N = ctx.saved_tensors
        through_entropy = bool(grad_entropies_N.any())
        for rows in _chunks(logits_NV, ctx.height):
            log_p_NV = _scaled(logits_NV[rows], ctx.inverse_temperature, ctx.absent_from).sub_(log_total_N[rows, None])
            p_NV = log_p_NV.exp()
            if through_entropy:
                grad_NV = log_p_NV.add_(entropies_N[rows, None]).mul_(p_NV).mul_(-grad_entropies_N[rows, None])
                grad_NV.addcmul_(p_NV, grad_logprobs_N[rows, None], value=-1)
            else:
                grad_NV = p_NV.mul_(-grad_logprobs_N[rows, None])
            grad_NV.scatter_add_(1, local_N[rows, None], (grad_logprobs_N * held_N)[rows, None])
            logits_NV[rows] = grad_NV.mul_(ctx.inverse_temperature)
        return logits_NV, None, None, None, None, None


def _chunks(logits_NV: Tensor, height: int) -> Iterator[slice]:
    for start in range(0, len(logits_NV), height):
        yield slice(start, start + height)


def _scaled(logits_NV: Tensor, inverse_temperature: float, absent_from: int) -> Tensor:
    """A new fp32 tensor of logits / temperature."""
    x_NV = logits_NV.to(torch.float32, copy=True).mul_(inverse_temperature)
    x_NV[:, absent_from:] = _ABSENT
    return x_NV


def _over_ranks(
    sums_3N: Tensor, peak_N: Tensor, held_N: Tensor, group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The three sums of all ranks, all relative to the peak of all ranks, which replaces `peak_N`."""
    total_N, weighted_N, target_N = sums_3N
    if group is None or group.size() == 1:
        return total_N, weighted_N, target_N
    own_N = peak_N.clone()
    dist.all_reduce(peak_N, op=dist.ReduceOp.MAX, group=group)
    shift_N = own_N - peak_N
    scale_N = shift_N.exp()
    joint_3N = torch.stack(
        [
            total_N * scale_N,
            (weighted_N + shift_N * total_N) * scale_N,
            torch.where(held_N, target_N + shift_N, 0.0),
        ]
    )
    dist.all_reduce(joint_3N, group=group)
    return joint_3N[0], joint_3N[1], joint_3N[2]
