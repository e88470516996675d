"""How long a rank may stand still, and how long it may be silent, by the phase it is in."""

from __future__ import annotations

from nemo_prorl.config.watchdog import WatchdogConfig


class PhaseLimits:
    def __init__(self, config: WatchdogConfig) -> None:
        self._silent_seconds, self._others = config.silent_seconds, config.minutes
        self._minutes = {
            "starting": config.starting_minutes,
            "resume": config.starting_minutes,
            "gate": config.rollout_minutes,
            "rollout": config.rollout_minutes,
            "validation": config.validation_minutes,
            "checkpoint": config.checkpoint_minutes,
            "export": config.export_minutes,
        }

    def seconds_of(self, phase: str) -> float:
        """How long a rank may be in `phase` without progress."""
        return 60.0 * self._minutes.get(phase, self._others)

    def silence_of(self, phase: str) -> float:
        """How many seconds a rank in `phase` may give no sign of life."""
        if self._silent_seconds is None or phase == "starting":
            return self.seconds_of(phase)
        return min(self._silent_seconds, self.seconds_of(phase))
