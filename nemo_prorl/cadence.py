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
    save_best: bool = False
    save_resets: bool = False

    def validation_is_due(self, state: RunState, is_over: bool) -> bool:
        """At the start, every so many steps and after the last one; never twice for the same policy."""
        if state.validated_at == state.step:
            return False
        return self.validate_at_start if state.step == 0 else is_over or _is_due(self.validate_every, state.step)

    def saving_is_due(self, state: RunState, is_over: bool, was_reset: bool) -> bool:
        """`was_reset`: just now."""
        is_best = state.best is not None and state.best.step == state.step
        by_step = state.step > 0 and (is_over or _is_due(self.save_every, state.step))
        return by_step or (was_reset and self.save_resets) or (is_best and self.save_best)


def _is_due(every: int | None, step: int) -> bool:
    return every is not None and step % every == 0
