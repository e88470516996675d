"""An engine that tells its own failures from those of what it was asked, and can be made anew."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from torch import Tensor

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import EngineFailedError, ProRLError
from nemo_prorl.rollout.engine import RolloutEngine, Sampled

log = logging.getLogger(__name__)


class RenewableEngine:
    """The engine that `make` makes.

    What it raises, but for what we can explain (a ProRLError that isn't an EngineFailedError), is its failure. A
    failure to take weights, or to release what it holds, is told when it is asked for completions next: weights are
    exported by all ranks together, and none may leave the others there. One that has failed is asked nothing more, for
    it may never answer: weights pass it by, and nothing is released until it is closed.
    """

    def __init__(self, make: Callable[[], RolloutEngine]) -> None:
        self._make, self._engine = make, make()
        self._failure: Exception | None = None

    @property
    def name(self) -> str:
        return type(self._engine).__name__

    def load_weights(self, stream: Iterable[tuple[str, Tensor]]) -> None:
        tensors = iter(stream)
        if self._failure is not None:
            for _ in tensors:
                pass
            return
        try:
            self._engine.load_weights(_passed_on(tensors))
        except Exception as error:
            if isinstance(error, _StreamError) or _is_explained(error):
                raise
            self._failure = error
            for _ in tensors:
                pass

    def generate(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        """See `RolloutEngine`.

        Raises:
            EngineFailedError: the engine failed, now or when it was given its weights.
        """
        if self._failure is not None:
            raise self._told(self._failure)
        try:
            yield from self._engine.generate(prompts, sampling)
        except Exception as error:
            if _is_explained(error):
                raise
            self._failure = error
            raise self._told(error) from error

    def release(self) -> None:
        if self._failure is not None:
            return
        try:
            self._engine.release()
        except Exception as error:
            if _is_explained(error):
                raise
            self._failure = error

    def renew_if_failed(self) -> None:
        """Make it anew, unless all was well; weights have to come before more work."""
        if self._failure is None:
            return
        log.warning("%s has failed and is made anew", self.name, exc_info=self._failure)
        self.close()
        self._failure = None
        try:
            self._engine = self._make()
        except Exception as error:
            self._failure = error

    def close(self) -> None:
        """Give back what it holds, as far as it can; one that has no `close` is released."""
        with suppress(Exception):
            getattr(self._engine, "close", self._engine.release)()

    def _told(self, error: Exception) -> EngineFailedError:
        return EngineFailedError(f"the rollout engine ({self.name}) has failed: {type(error).__name__}: {error}")


def _is_explained(error: Exception) -> bool:
    """Whether it is something else than a failure of the engine's, which some engines name themselves."""
    return isinstance(error, ProRLError) and not isinstance(error, EngineFailedError)


class _StreamError(Exception):
    """The weights could not be exported: no failure of the engine's."""


def _passed_on(tensors: Iterator[tuple[str, Tensor]]) -> Iterator[tuple[str, Tensor]]:
    while True:
        try:
            item = next(tensors)
        except StopIteration:
            return
        except Exception as error:
            raise _StreamError(f"{type(error).__name__}: {error}") from error
        yield item
