"""Between the trainer and the rollout engine: one that fails is made anew, and asked the same again."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from nemo_prorl.actor.interface import PolicyActor
from nemo_prorl.actor.phases import inference_phase
from nemo_prorl.control import Cursor
from nemo_prorl.errors import EngineFailedError

T = TypeVar("T")

log = logging.getLogger(__name__)


class EngineGuard:
    """Lets `work` sample within the inference phase. Collective: all ranks learn of a failure on any of them.

    Asked again, the engine gives the same completions: their seeds don't depend on it, and `cursors`, which say what is
    asked, are put back to where they were.
    """

    def __init__(self, actor: PolicyActor, cursors: Sequence[Cursor], renewals: int) -> None:
        self._actor, self._cursors, self._renewals = actor, cursors, renewals

    def sample(self, work: Callable[[], T]) -> T:
        """What `work` gives.

        Raises:
            EngineFailedError: some rank's engine has failed more than `renewals` times; on every rank.
        """
        before = [cursor.state_dict() for cursor in self._cursors]
        for left in reversed(range(self._renewals + 1)):
            try:
                with inference_phase(self._actor):
                    return work()
            except EngineFailedError as error:
                for cursor, state in zip(self._cursors, before, strict=True):
                    cursor.load_state_dict(state)
                if not left:
                    raise
                log.warning("%s. It is made anew, and asked the same again", error)
                self._actor.renew_engine()
        raise AssertionError("unreachable")
