"""What the engine gives back to the trainer between rollouts: its cache, and its weights too where that is asked for.

Freed memory is taken again in two steps, with the refit between them: the cache is by far the larger part, and must not
be there while weights stand twice.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from typing import Any, Literal

import torch

from nemo_prorl.errors import EngineFailedError
from nemo_prorl.rollout.tensorrt_llm.library import Library

log = logging.getLogger(__name__)

CACHE = "kv_cache"
WEIGHTS = ("model_weights", "model")  # the first that a version has; what it calls "model" may be more than weights
Releases = Literal["nothing", "cache", "cache_and_weights"]


class EngineMemory:
    """Frees and takes again what `releases` names. `engine` is the executor's loop, `executor` what owns it."""

    def __init__(self, library: Library, executor: Any, releases: Releases) -> None:
        self._library, self._executor = library, executor
        self._cache: list[str] = []
        self._weights: list[str] = []
        self._freed: set[str] = set()
        if releases != "nothing" and not library.sleep_arguments():
            log.warning(
                "TensorRT-LLM %s can't give memory back: its cache stays while the policy is trained. Bound it with "
                "rollout.kv_cache_tokens, and consider megatron.offload.",
                library.version,
            )
            return
        if releases != "nothing":
            self._cache = [CACHE]
        if releases == "cache_and_weights":
            known = {kind.value for kind in library.memory_types()}
            self._weights = [next(tag for tag in WEIGHTS if tag in known)]

    def free(self) -> None:
        """Give it back. A second call does nothing. The prefix cache must have been reset: it knows nothing of this."""
        self._set([tag for tag in (*self._cache, *self._weights) if tag not in self._freed], awake=False)

    def take_weights(self) -> None:
        """Before a refit."""
        self._set([tag for tag in self._weights if tag in self._freed], awake=True)

    def take_cache(self) -> None:
        """After a refit."""
        self._set([tag for tag in self._cache if tag in self._freed], awake=True)

    def _set(self, tags: Sequence[str], *, awake: bool) -> None:
        if not tags:
            return
        try:
            self._ask(list(tags), awake=awake)
        except Exception as error:  # out of memory, mostly
            raise EngineFailedError(
                f"TensorRT-LLM can't {'take' if awake else 'give back'} memory for {', '.join(tags)}: "
                f"{type(error).__name__}: {error}. Lower rollout.kv_cache_tokens or rollout.kv_cache_fraction, or have "
                "the trainer leave more to it: megatron.offload"
            ) from error
        self._freed = self._freed - set(tags) if awake else self._freed | set(tags)

    def _ask(self, tags: list[str], *, awake: bool) -> None:
        if hasattr(self._executor, "sleep"):  # it sees to the loop by itself
            (self._executor.wakeup if awake else self._executor.sleep)(tags)
            return
        memory = self._library.virtual_memory()
        with self._executor.engine.control_action():
            settle()
            (memory.materialize_with_tag if awake else memory.release_with_tag)(*tags)
            settle()


def settle() -> None:
    """Wait for the GPU, and hand its allocator's free blocks back."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
