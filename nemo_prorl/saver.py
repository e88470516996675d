"""A run's checkpoints: what goes into them besides weights, when they are whole, and how a run goes on from one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from nemo_prorl.actor.interface import PolicyActor
from nemo_prorl.config.identity import RunIdentity
from nemo_prorl.control import Cursor
from nemo_prorl.errors import CheckpointError
from nemo_prorl.recipe import Recipe
from nemo_prorl.run_state import RunState
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.telemetry.timer import Timer


class Saver:
    """Has the actor save and restore, and knows what is saved. Every method is collective.

    `remembering`: what has a memory of its own that belongs into a checkpoint, by its name there; None for what this
    run does without.
    """

    def __init__(
        self,
        actor: PolicyActor,
        identity: RunIdentity,
        progress: Progress,
        timer: Timer,
        remembering: Mapping[str, Cursor | None],
    ) -> None:
        self._actor, self._identity, self._remembering = actor, identity, remembering
        self._progress, self._timer = progress, timer
        self._saved: tuple[int, int] | None = None  # step and finished step of the newest

    def save(self, state: RunState, tags: Sequence[str] = ()) -> None:
        """Everything that going on needs, whole or not at all. It may be written while training goes on."""
        score, measure = state.score_of_policy
        with self._timer("checkpoint"):
            self._actor.save_checkpoint(state.step, self._everything(state), score=score, measure=measure, tags=tags)
        self._has_saved(state)

    def restore(self, recipe: Recipe, *, but: Collection[str] = ()) -> RunState | None:
        """Take up the newest whole checkpoint, `but` for some memories, and tell what has changed since; None: there is
        none.

        Raises:
            CheckpointError: it belongs to a run of another model, or to a recipe with other or longer stages.
        """
        with self._timer("resume"):
            saved = self._actor.restore_checkpoint()
        if saved is None:
            return None
        changed = self._identity.recognise(saved)
        state = RunState.from_dict(saved["run"])
        if state.steps_in_stage > (most := recipe.named(state.stage).steps):
            raise CheckpointError(
                f"the run in this folder has done {state.steps_in_stage} steps of stage {state.stage!r}, more than the "
                f"{most} of this recipe; choose another run.dir, or give the stage as many"
            )
        for name, part in self._remembering.items():
            if part is not None and name not in but and saved.get(name) is not None:
                part.load_state_dict(saved[name])
        for change in changed:
            self._progress.say(f"since the checkpoint this has changed: {change}")
        self._has_saved(state)
        return state

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

    def _everything(self, state: RunState) -> dict[str, Any]:
        parts = {name: None if part is None else part.state_dict() for name, part in self._remembering.items()}
        return {"run": state.as_dict(), **parts, **self._identity.as_state()}

    def _has_saved(self, state: RunState) -> None:
        self._saved = state.step, state.finished_step

    def _told(self, wait: bool) -> None:
        written = self._actor.checkpoint_written(wait=wait)
        if written is not None:
            self._progress.saved(written.name)
