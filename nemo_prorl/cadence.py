"""When a trainer does more than step."""

from __future__ import annotations

from dataclasses import dataclass

from nemo_prorl.run_state import RunState


@dataclass(frozen=True)
class Cadence:
    """None: never by the clock. `is_over`, of every question: no further step will come.

    `save_best`: also when validation has never been better; `save_resets`: also right after a reset.
    """

    validate_every: int | None = None
    validate_at_start: bool = True
    save_every: int | None = None
    measure_base_every: int | None = None
    save_best: bool = False
    save_resets: bool = False

    def validation_is_due(self, step: int, is_over: bool) -> bool:
        """Every so many steps and after the last one."""
        return is_over or _is_due(self.validate_every, step)

    def base_is_measured(self, step: int) -> bool:
        """Whether the step after `step` also measures how far the policy is from the model that the run began with."""
        return _is_due(self.measure_base_every, step)

    def saving_is_due(self, state: RunState, is_over: bool, was_reset: bool) -> bool:
        """`was_reset`: just now."""
        is_best = state.best is not None and state.best.step == state.step
        by_step = state.step > 0 and (is_over or _is_due(self.save_every, state.step))
        return by_step or (was_reset and self.save_resets) or (is_best and self.save_best)


def _is_due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0
