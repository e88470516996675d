"""Plug-ins of the tests' own, named in configs by their path as a user's would be."""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nemo_prorl.algorithm.objective import clip_higher
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.rollout.engine import Sampled
from nemo_prorl.rollout.transformers_engine import TransformersEngine


class VowelShare:
    """Rewards any text, a model's first babble too: the share of its characters that are vowels."""

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        return Verdict(sum(letter in "aeiou" for letter in text.lower()) / max(len(text), 1))


class PonderedVowelShare(VowelShare):
    """The same after a moment, so that verdicts are still awaited when all completions are there."""

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        time.sleep(0.03)
        return super().check(reference, text)


def not_a_number(logp_BT: Tensor, old_logp_BT: Tensor, advantage_BT: Tensor) -> Tensor:
    """An objective whose value is fine and whose gradient is not a number."""
    loss_BT = clip_higher(logp_BT, old_logp_BT, advantage_BT)
    return loss_BT + 0.0 * (logp_BT - logp_BT.detach()).abs().sqrt()  # d sqrt(0) = inf, times 0


def not_a_number_once(
    logp_BT: Tensor, old_logp_BT: Tensor, advantage_BT: Tensor, *, call: int, rank: int = 0
) -> Tensor:
    """`not_a_number` the `call`-th time, from 1, on one rank; before and after, and elsewhere, as it should be."""
    objective = clip_higher
    if int(os.environ["RANK"]) == rank and next(_calls) == call:
        objective = not_a_number
    return objective(logp_BT, old_logp_BT, advantage_BT)


_calls, _asked = itertools.count(1), itertools.count(1)


class Brittle(TransformersEngine):
    """Fails when it is asked for the `first`-th to `last`-th time, on one rank, after its first completion."""

    def __init__(
        self, model_path: Path, *, first: int, last: int, rank: int = 0, max_batch_sequences: int = 128, **given: Any
    ) -> None:
        super().__init__(model_path, max_batch_sequences=max_batch_sequences, **given)
        self._fails = range(first, last + 1) if int(os.environ["RANK"]) == rank else range(0)

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        is_failing = next(_asked) in self._fails
        for sampled in super().generate(prompts, sampling):
            yield sampled
            if is_failing:
                raise MemoryError("the engine's own trouble")


class Unhurried(TransformersEngine):
    """Takes its time after each completion, so that a test can do something meanwhile; the completions are the same."""

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        for sampled in super().generate(prompts, sampling):
            yield sampled
            time.sleep(0.02)


class Forgetful(TransformersEngine):
    """Takes one tensor at the first refit and never again, as an engine does that skips a name it doesn't know."""

    FORGOTTEN = "model.layers.0.mlp.down_proj.weight"

    def __init__(
        self, model_path: Any, tokenizer: Any, device: Any, *, max_batch_sequences: int = 128, refits_before: int = 1
    ) -> None:
        super().__init__(model_path, tokenizer, device, max_batch_sequences=max_batch_sequences)
        self._refits_left, self._kept = refits_before, torch.empty(0)

    def load_weights(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        super().load_weights(
            (name, self._as_kept(tensor) if name == self.FORGOTTEN else tensor) for name, tensor in stream
        )
        self._refits_left -= 1

    def _as_kept(self, tensor: Tensor) -> Tensor:
        if self._refits_left > 0:
            self._kept = tensor.clone()
        return self._kept if len(self._kept) else torch.zeros_like(tensor)


class Copying(TransformersEngine):
    """Draws every sample of a prompt from one stream, as an engine does that knows no seeds."""

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        for sampled in super().generate(prompts, replace(sampling, samples_per_prompt=1)):
            yield from (sampled._replace(sample=sample) for sample in range(sampling.samples_per_prompt))
