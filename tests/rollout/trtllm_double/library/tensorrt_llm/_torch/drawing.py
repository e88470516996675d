"""How tokens are drawn, and which logprobs are told of them: by sampler and version."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from tensorrt_llm import version
from tensorrt_llm.executor.result import Logprob

# TorchSampler's: made once for all requests of a process.
_shared = torch.Generator().manual_seed(42)


def generator_of(seed: int | None, sampler: str) -> torch.Generator:
    if sampler == "TorchSampler" and (seed is None or not version.TORCH_SAMPLER_SEEDS):
        return _shared
    return torch.Generator().manual_seed(seed or 0)


def draw(logits_V: Tensor, params: Any, generator: torch.Generator) -> int:
    if params.is_greedy:
        return int(logits_V.argmax())
    return int(torch.multinomial(_cut(logits_V, params).softmax(-1), 1, generator=generator))


def told(logits_V: Tensor, token: int, params: Any, sampler: str) -> Any:
    """An entry of a completion's logprobs."""
    if sampler == "TRTLLMSampler":  # it divides logits in place before it looks
        temperature = params.temperature if params.temperature else 1.0
        return {token: Logprob(float((logits_V / temperature).log_softmax(-1)[token]), 1)}
    processed = version.HAS_LOGPROBS_MODE and params.logprobs_mode.value == "processed"
    logprob_V = (_cut(logits_V, params) if processed else logits_V).log_softmax(-1)
    best = logprob_V.topk(params.logprobs)
    entry = {
        int(i): Logprob(float(value), rank + 1)
        for rank, (value, i) in enumerate(zip(best.values, best.indices, strict=True))
    }
    if token not in entry:  # last, and beyond the number that was asked for
        entry[token] = Logprob(float(logprob_V[token]), int((logprob_V > logprob_V[token]).sum()) + 1)
    return entry


def _cut(logits_V: Tensor, params: Any) -> Tensor:
    scaled = logits_V / (params.temperature if params.temperature else 1.0)
    if params.top_k:
        scaled = scaled.masked_fill(scaled < scaled.topk(params.top_k).values[-1], -torch.inf)
    if params.top_p is not None and params.top_p < 1:
        values, order = scaled.sort(descending=True)
        before = values.softmax(-1).cumsum(-1) - values.softmax(-1)
        scaled = scaled.scatter(0, order, values.masked_fill(before >= params.top_p, -torch.inf))
    return scaled
