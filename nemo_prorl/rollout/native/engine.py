"""Rollouts on CPU without a model library: the default where the policy trains on CPU."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import ProRLError, RolloutError
from nemo_prorl.rollout.decoding import check_room, jobs_of
from nemo_prorl.rollout.engine import RolloutEngine, Sampled
from nemo_prorl.rollout.native.decoder import Decoder
from nemo_prorl.rollout.native.generation import Generation
from nemo_prorl.rollout.native.kernels import compiled
from nemo_prorl.rollout.native.weights import DecoderWeights
from nemo_prorl.weights.architecture import Architecture

log = logging.getLogger(__name__)


def native_or_transformers(
    model_path: str | Path,
    tokenizer: Tokenizer,
    device: str | torch.device = "cpu",
    *,
    max_batch_sequences: Annotated[int, Field(ge=1)] = 128,
) -> RolloutEngine:
    """The native engine where it can run, else the transformers engine; the log says why.

    Raises:
        WeightsError: neither can run the model.
    """
    settings: dict[str, Any] = {"max_batch_sequences": max_batch_sequences}
    if torch.device(device).type != "cpu":
        log.info("rollouts are made by transformers: the native engine runs on CPU alone, this run is on %s", device)
        return _transformers(model_path, tokenizer, device, **settings)
    try:
        return NativeEngine(model_path, tokenizer, **settings)
    except ProRLError as error:
        log.warning("rollouts are made by transformers, several times slower than by the native engine: %s", error)
        return _transformers(model_path, tokenizer, device, **settings)


def _transformers(*settings: Any, **knobs: Any) -> RolloutEngine:
    from nemo_prorl.rollout.transformers_engine import TransformersEngine  # takes seconds to import, mostly for nothing

    return TransformersEngine(*settings, **knobs)


class NativeEngine:
    """A decoder of ours for the families of `weights/architecture.py`, in float32 on CPU; see `RolloutEngine`.

    Only the folder's config is read: weights come through `load_weights`. A prompt is computed once for all its
    samples, a finished completion leaves the batch, and one that waits takes its place. `max_batch_sequences`: how many
    are under generation at once (memory grows with it, and so does speed).

    Raises:
        RolloutError: there is no C compiler.
        WeightsError: the model is of no family that we know, or has something in its config that we don't do.
    """

    def __init__(
        self,
        model_path: str | Path,
        tokenizer: Tokenizer,
        *,
        max_batch_sequences: Annotated[int, Field(ge=1)] = 128,
    ) -> None:
        self._tokenizer, self._most_rows = tokenizer, max_batch_sequences
        self._kernels = compiled()
        self._weights = DecoderWeights(Architecture.read(model_path), self._kernels)
        self._stop_V = np.zeros(self._weights.of.vocab_size, dtype=np.bool_)
        self._stop_V[[i for i in tokenizer.stop_ids if i < len(self._stop_V)]] = True
        self._loaded = False

    def load_weights(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        """See `RolloutEngine.load_weights`. With tied embeddings `lm_head.weight` may be left out."""
        self._loaded = False
        self._weights.load(stream)
        self._loaded = True

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        """See `RolloutEngine.generate`. The same call with the same weights gives the same bits."""
        if not self._loaded:
            raise RolloutError("NativeEngine.generate: the engine has no weights yet; call load_weights first")
        check_room(prompts, sampling)
        return self._sampled(prompts, sampling)

    def release(self) -> None:
        """Nothing outlives an iterator but the weights, and those are kept for the next `load_weights` to overwrite."""

    def _sampled(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        jobs = jobs_of(prompts, sampling)
        if not jobs:
            return
        decoder = Decoder(self._weights, self._kernels)
        for decoded in Generation(decoder, jobs, sampling, stop_V=self._stop_V, most_rows=self._most_rows):
            yield decoded.sampled(self._tokenizer)
