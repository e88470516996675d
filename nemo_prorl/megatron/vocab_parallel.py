"""Logprobs and entropy of a vocabulary that is cut over tensor-parallel ranks.

Letters: N scored tokens, V rows of the vocabulary held by this rank. Everything is fp32, whatever the logits' dtype.
Logits are divided by the sampling temperature first: a logprob at another temperature is another policy's.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def logprobs_and_entropies(
    logits_NV: Tensor, targets_N: Tensor, *, temperature: float, vocab_size: int, group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor]:
    """log softmax(logits / temperature) at the targets, and the entropy of that distribution, both [N] fp32.

    logits_NV   this rank's columns; columns that only pad the vocabulary to its size are left out of the softmax
    targets_N   token ids of the whole vocabulary
    group       the tensor-parallel ranks; None for one

    Differentiable in the logits through both results.
    """
    return _Scores.apply(logits_NV, targets_N, 1.0 / temperature, vocab_size, group)  # type: ignore[no-any-return]


class _Scores(torch.autograd.Function):
    """Forward keeps the probabilities; backward needs nothing else of size [N, V]."""

    @staticmethod
    def forward(
        ctx: Any,
        logits_NV: Tensor,
        targets_N: Tensor,
        inverse_temperature: float,
        vocab_size: int,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, Tensor]:
        width = logits_NV.shape[1]
        first = width * (group.rank() if group is not None else 0)
        x_NV = logits_NV.float() * inverse_temperature
        x_NV[:, max(0, vocab_size - first) :] = -torch.inf  # rows that only pad the vocabulary
        local_N = targets_N - first
        held_N = (local_N >= 0) & (local_N < width)
        local_N = local_N.clamp(0, width - 1)
        target_N = x_NV.gather(1, local_N[:, None])[:, 0].masked_fill(~held_N, 0.0)

        largest_N = x_NV.amax(dim=1)
        _reduce(largest_N, dist.ReduceOp.MAX, group)
        x_NV -= largest_N[:, None]
        p_NV = x_NV.exp()
        # Sum of p*x: where p is 0 the product is 0, not 0 * -inf.
        sums = torch.stack([p_NV.sum(dim=1), target_N, torch.where(p_NV > 0, p_NV * x_NV, 0.0).sum(dim=1)])
        _reduce(sums, dist.ReduceOp.SUM, group)
        total_N, target_N, weighted_N = sums
        p_NV /= total_N[:, None]
        log_total_N = total_N.log()
        logprobs_N = target_N - largest_N - log_total_N
        entropies_N = log_total_N - weighted_N / total_N
        ctx.save_for_backward(p_NV, local_N, held_N, entropies_N)
        ctx.inverse_temperature, ctx.dtype = inverse_temperature, logits_NV.dtype
        return logprobs_N, entropies_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """d logprob = onehot - p; d entropy = -p (log p + entropy)."""
        grad_logprobs_N, grad_entropies_N = gradients
        p_NV, local_N, held_N, entropies_N = ctx.saved_tensors
        grad_NV = p_NV * -grad_logprobs_N[:, None]
        grad_NV.scatter_add_(1, local_N[:, None], (grad_logprobs_N * held_N)[:, None])
        if bool(grad_entropies_N.any()):
            log_p_NV = p_NV.clamp(min=torch.finfo(torch.float32).tiny).log()
            grad_NV -= grad_entropies_N[:, None] * p_NV * (log_p_NV + entropies_N[:, None])
        return (grad_NV * ctx.inverse_temperature).to(ctx.dtype), None, None, None, None


def _reduce(tensor: Tensor, operation: Any, group: dist.ProcessGroup | None) -> None:
    if group is not None and group.size() > 1:
        dist.all_reduce(tensor, op=operation, group=group)
