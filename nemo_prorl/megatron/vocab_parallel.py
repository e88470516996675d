"""Logprobs and entropy straight from hidden states, over a vocabulary that is cut over tensor-parallel ranks.

Letters: N scored tokens, H hidden size, V columns of the vocabulary held by this rank, C tokens of a chunk. The output
projection is part of it: logits exist for one chunk of tokens at a time and are computed again in backward, so that
no [N, V] tensor ever does. Whatever the dtype of hidden states and weight, everything after the projection is fp32.
Logits are divided by the sampling temperature first: a logprob at another temperature is another policy's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor

from nemo_prorl.megatron.layout import chunk_height

_ABSENT = -1e30  # the logit of a column that only pads the vocabulary; finite, so that 0 * _ABSENT is 0


class _Vocabulary(NamedTuple):
    """What this rank holds of it, and how it is read. `absent_from`: the first column that only pads."""

    inverse_temperature: float
    absent_from: int
    group: dist.ProcessGroup | None
    rows_a_chunk: int
    reduces_hidden: bool


def logprobs_and_entropies(
    hidden_NH: Tensor,
    weight_VH: Tensor,
    targets_N: Tensor,
    *,
    temperature: float,
    vocab_size: int,
    group: dist.ProcessGroup | None,
    reduce_hidden_gradient: bool = True,
    chunk_elements: int | None = None,
) -> tuple[Tensor, Tensor]:
    """log softmax(hidden @ weight.T / temperature) at the targets, and that distribution's entropy, both [N] fp32.

    weight_VH               this rank's rows; those that pad the vocabulary beyond `vocab_size` stay out of the softmax
    targets_N               token ids of the whole vocabulary
    group                   the tensor-parallel ranks; None for one
    reduce_hidden_gradient  add the hidden states' gradient up over `group`; false where a gather before does (sequence
                            parallelism)
    chunk_elements          how large an intermediate [C, V] may get (see `chunk_height`); None: as the device likes it

    Differentiable in hidden states and weight through both results. A weight with Megatron's `main_grad` gets its
    gradient added there, in fp32, and none in `grad`.
    """
    first = weight_VH.shape[0] * (group.rank() if group is not None else 0)
    vocabulary = _Vocabulary(
        1.0 / temperature,
        max(0, vocab_size - first),
        group if group is not None and group.size() > 1 else None,
        chunk_height(weight_VH.shape[0], hidden_NH.device.type, chunk_elements),
        reduce_hidden_gradient,
    )
    return _Scores.apply(hidden_NH, weight_VH, targets_N - first, vocabulary)  # type: ignore[no-any-return]


class _Scores(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden_NH: Tensor, weight_VH: Tensor, local_N: Tensor, vocabulary: _Vocabulary
    ) -> tuple[Tensor, Tensor]:
        N, device = len(hidden_NH), hidden_NH.device
        held_N = (local_N >= 0) & (local_N < weight_VH.shape[0])
        local_N = local_N.clamp(0, weight_VH.shape[0] - 1)
        peak_N = torch.empty(N, device=device)
        sums_3N = torch.empty(3, N, device=device)  # of exp(y), of y exp(y), and y's target
        for rows in _chunks(N, vocabulary):
            x_CV = _scaled_logits(hidden_NH[rows], weight_VH, vocabulary)
            peak_N[rows] = x_CV.amax(dim=1)
            y_CV = x_CV.sub_(peak_N[rows, None])
            sums_3N[2, rows] = y_CV.gather(1, local_N[rows, None])[:, 0]
            e_CV = y_CV.exp()
            sums_3N[0, rows] = e_CV.sum(dim=1)
            sums_3N[1, rows] = torch.linalg.vecdot(e_CV, y_CV)
            del x_CV, y_CV, e_CV  # before the next chunk's
        total_N, weighted_N, target_N = _over_ranks(sums_3N, peak_N, held_N, vocabulary.group)
        log_total_N = total_N.log()
        logprobs_N, entropies_N = target_N - log_total_N, log_total_N - weighted_N / total_N
        ctx.save_for_backward(hidden_NH, weight_VH, local_N, held_N, peak_N + log_total_N, entropies_N)
        ctx.vocabulary = vocabulary
        return logprobs_N, entropies_N

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        """d logprob / d x = onehot - p; d entropy / d x = -p (log p + entropy); x = logits / temperature."""
        grad_logprobs_N, grad_entropies_N = gradients
        hidden_NH, weight_VH, local_N, held_N, log_total_N, entropies_N = ctx.saved_tensors
        vocabulary: _Vocabulary = ctx.vocabulary
        through_entropy = bool(grad_entropies_N.any())
        grad_hidden_NH = torch.empty_like(hidden_NH)
        grad_weight_VH, returned_VH = _weight_gradient(weight_VH, ctx.needs_input_grad[1])
        for rows in _chunks(len(hidden_NH), vocabulary):
            log_p_CV = _scaled_logits(hidden_NH[rows], weight_VH, vocabulary).sub_(log_total_N[rows, None])
            if through_entropy:
                p_CV = log_p_CV.exp()
                grad_CV = log_p_CV.add_(entropies_N[rows, None]).mul_(p_CV).mul_(-grad_entropies_N[rows, None])
                grad_CV.addcmul_(p_CV, grad_logprobs_N[rows, None], value=-1)
                del p_CV
            else:
                grad_CV = log_p_CV.exp_().mul_(-grad_logprobs_N[rows, None])
            grad_CV.scatter_add_(1, local_N[rows, None], (grad_logprobs_N * held_N)[rows, None])
            through_logits_CV = grad_CV.mul_(vocabulary.inverse_temperature).to(hidden_NH.dtype)
            grad_hidden_NH[rows] = through_logits_CV @ weight_VH
            if grad_weight_VH is not None:
                add_product(grad_weight_VH, through_logits_CV, hidden_NH[rows])
            del log_p_CV, grad_CV, through_logits_CV  # before the next chunk's
        if vocabulary.group is not None and vocabulary.reduces_hidden:
            dist.all_reduce(grad_hidden_NH, group=vocabulary.group)
        return grad_hidden_NH, returned_VH, None, None


def _chunks(count: int, vocabulary: _Vocabulary) -> Iterator[slice]:
    for start in range(0, count, vocabulary.rows_a_chunk):
        yield slice(start, start + vocabulary.rows_a_chunk)


def _scaled_logits(hidden_CH: Tensor, weight_VH: Tensor, vocabulary: _Vocabulary) -> Tensor:
    """A new fp32 tensor of logits / temperature."""
    x_CV = (hidden_CH @ weight_VH.t()).float()
    if vocabulary.inverse_temperature != 1.0:
        x_CV.mul_(vocabulary.inverse_temperature)
    x_CV[:, vocabulary.absent_from :] = _ABSENT
    return x_CV


def _weight_gradient(weight_VH: Tensor, is_needed: bool) -> tuple[Tensor | None, Tensor | None]:
    """Where to add the weight's gradient, and what backward returns of it."""
    if not is_needed:
        return None, None
    main_grad: Tensor | None = getattr(weight_VH, "main_grad", None)
    if main_grad is not None:
        return main_grad, None
    own = torch.zeros_like(weight_VH)
    return own, own


def add_product(total_VH: Tensor, grad_CV: Tensor, hidden_CH: Tensor) -> None:
    """total += grad.T @ hidden, in the total's dtype."""
    if total_VH.dtype == grad_CV.dtype:
        total_VH.addmm_(grad_CV.t(), hidden_CH)
    else:
        total_VH.add_(grad_CV.t() @ hidden_CH)


def _over_ranks(
    sums_3N: Tensor, peak_N: Tensor, held_N: Tensor, group: dist.ProcessGroup | None
) -> tuple[Tensor, Tensor, Tensor]:
    """The three sums of all ranks, all relative to the peak of all ranks, which replaces `peak_N`."""
    total_N, weighted_N, target_N = sums_3N
    if group is None:
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
