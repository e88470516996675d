"""Writing a run's checkpoints, and telling of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nemo_prorl.actor.interface import PolicyActor
from nemo_prorl.run_state import RunState
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.telemetry.timer import Timer


class Saver:
    """Has the actor save, and knows what is saved. Every method is collective."""

    def __init__(self, actor: PolicyActor, progress: Progress, timer: Timer) -> None:
        self._actor, self._progress, self._timer = actor, progress, timer
        self._saved: tuple[int, int] | None = None  # step and finished step of the newest

    def save(self, state: RunState, everything: Mapping[str, Any], tags: Sequence[str] = ()) -> None:
        """`everything` that going on needs, whole or not at all. It may be written while training goes on."""
        score, measure = state.score_of_policy
        with self._timer("checkpoint"):
            self._actor.save_checkpoint(state.step, everything, score=score, measure=measure, tags=tags)
        self.has_saved(state)

    def has_saved(self, state: RunState) -> None:
        """The newest checkpoint is of `state`."""
        self._saved = state.step, state.finished_step

    def lacks(self, state: RunState) -> bool:
        """Whether something would be lost if the run ended now."""
        nothing_done = state.step == 0 and state.finished_step < 0
        return not nothing_done and self._saved != (state.step, state.finished_step)

    def tell(self) -> None:
        """Tell of a checkpoint that has become whole.

        Raises:
            CheckpointError: it could not be written.
        """
        self._told(wait=False)

    def wait(self) -> None:
        """Return when nothing is being written; otherwise as `tell`."""
        with self._timer("checkpoint"):
            self._told(wait=True)

    def _told(self, wait: bool) -> None:
        written = self._actor.checkpoint_written(wait=wait)
        if written is not None:
            self._progress.saved(written.name)
