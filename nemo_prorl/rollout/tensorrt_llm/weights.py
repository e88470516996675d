"""The refit: the policy's newest weights into a running engine, in place and in buckets.

The engine copies whatever has a name that it knows and says nothing of the rest, so names are counted here. Once it has
failed in the midst of a refit its weights are of two policies, and nothing can be done with them any more.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from nemo_prorl.errors import EngineFailedError
from nemo_prorl.rollout.refit import fitting
from nemo_prorl.rollout.tensorrt_llm.memory import settle
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.mapping import hf_parts

TORN = (
    "the rollout engine failed in the midst of a refit, so its weights are of two policies: it can't be used any more, "
    "and has to be made anew"
)


class EngineWeights:
    """The weights of a running engine. `engine` is the executor's loop."""

    def __init__(self, engine: Any, architecture: Architecture, dtype: torch.dtype, bucket_bytes: int) -> None:
        self._engine, self._dtype, self._bucket_bytes = engine, dtype, bucket_bytes
        self._shapes = {part.name: part.shape for part in hf_parts(weight_map(architecture))}
        self._optional = ["lm_head.weight"] if architecture.tied_embeddings else []
        self._is_torn = False

    @torch.no_grad()
    def load(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        """All of `stream`, to its end, while the engine's loop stands still; then caches of old weights are dropped.

        Raises:
            WeightsError: tensors were missing, unknown or of another shape; all of them are listed. Those that came
                have been copied.
            EngineFailedError: the engine failed to take them, now or before.
        """
        if self._is_torn:
            raise EngineFailedError(TORN)
        with self._engine.control_action():
            self._take(fitting({**self._shapes, **self._tied()}, stream, optional=self._optional))

    def reset_prefix_cache(self) -> None:
        """Forget what was computed for prompts that may come again."""
        with self._engine.control_action():
            self._engine.reset_prefix_cache()

    def _take(self, tensors: Iterator[tuple[str, Tensor]]) -> None:
        model, loader = self._engine.model_engine.model, self._engine.model_engine.model_loader
        problem: Exception | None = None
        self._is_torn = True
        try:
            _call_if_there(loader, "begin_update_weights")
            _tell(model, "pre_reload_weights")
            buckets = self._buckets(tensors)
            while True:
                try:
                    bucket = next(buckets, None)
                except Exception as error:  # of the stream's own: what has come is taken all the same
                    problem, bucket = error, None
                if bucket is None:
                    break
                loader.reload(model, bucket, allow_partial_loading=True)
                del bucket  # before the next one is gathered
            _call_if_there(loader, "finalize_update_weights")
            _tell(model, "process_weights_after_loading", "post_load_weights")
            self._engine.reset_prefix_cache()
            settle()
        except Exception as error:
            _call_if_there(loader, "abort_update_weights")
            raise EngineFailedError(f"{type(error).__name__}: {error}; {TORN}") from error
        self._is_torn = False
        if problem is not None:
            raise problem

    def _buckets(self, tensors: Iterable[tuple[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
        """Tensors by name, together about as large as a bucket; one that is larger comes alone."""
        bucket: dict[str, Tensor] = {}
        size = 0
        for name, tensor in tensors:
            if name in self._optional:
                continue  # the same tensor as the embeddings
            taken = tensor.to(self._dtype)
            if bucket and size + taken.nbytes > self._bucket_bytes:
                yield bucket
                bucket, size = {}, 0
            bucket[name] = taken
            size += taken.nbytes
        if bucket:
            yield bucket

    def _tied(self) -> Mapping[str, tuple[int, ...]]:
        return {name: self._shapes["model.embed_tokens.weight"] for name in self._optional}


def _call_if_there(loader: Any, name: str) -> None:
    """A step that later versions have."""
    step = getattr(loader, name, None)
    if step is not None:
        step()


def _tell(model: Any, *steps: str) -> None:
    """Each module that takes part in a step; those whose weights are gone take part in none."""
    for module in model.modules():
        if getattr(module, "_weights_removed", False):
            continue
        for step in steps:
            if hasattr(module, step):
                getattr(module, step)()
