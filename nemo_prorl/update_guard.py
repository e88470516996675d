"""Between the gradient and the weights: a bad update is skipped, or the run goes back, or it ends. All ranks alike."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from statistics import median
from typing import Any

from nemo_prorl.actor.interface import Optimizer
from nemo_prorl.algorithm.reduction import Metric
from nemo_prorl.config.updates import BadUpdatesConfig
from nemo_prorl.errors import BadUpdateError, TrainingError

log = logging.getLogger(__name__)

ADVICE = (
    "Look at policy/ratio_max, policy/entropy and optimizer/grad_norm of the steps before, and at samples.jsonl; a "
    "smaller optimizer.lr or optimizer.clip_grad_norm often helps. The newest checkpoint is still good: the same "
    "command resumes from it"
)


class Rewind(Exception):
    """The run is to go back to its newest checkpoint; the message says why."""


class UpdateGuard:
    """Lets the optimizer step, unless the update is bad. Every method is collective.

    What it remembers is part of a checkpoint, so a run that is resumed judges as one that was never interrupted.
    """

    def __init__(self, optimizer: Optimizer, config: BadUpdatesConfig) -> None:
        self._optimizer, self._config = optimizer, config
        self._norms: list[float] = []  # of the last good updates, oldest first
        self._skips = self._skips_in_a_row = 0
        self._rewinds = self._rewinds_in_a_row = 0
        self._rewound_to: int | None = None

    def step(self, update: Mapping[str, Metric]) -> dict[str, Metric | float]:
        """Take the step whose metrics are `update`; gives them with the optimizer's, and nothing of a skipped update.

        Raises:
            Rewind: the update is bad, and the run is to go back.
            TrainingError: it is bad, and the run is to end; no weight was changed by it.
        """
        bad = [f"{name} is {metric.value}" for name, metric in update.items() if not math.isfinite(metric.value)]
        try:
            stepped = self._optimizer.step(objection="; ".join(bad[:5]), norm_limit=self._norm_limit)
        except BadUpdateError as error:
            self._remedy(error)
            return {}
        norm = stepped["optimizer/grad_norm"]
        self._norms.append(norm if isinstance(norm, float) else norm.value)
        del self._norms[: -self._config.spike_window_updates]
        self._skips_in_a_row = 0
        return {**update, **stepped}

    def rewound(self, step: int) -> None:
        """The run stands after `step` again.

        Raises:
            TrainingError: it has come back to this checkpoint too often.
        """
        self._rewinds += 1
        self._rewinds_in_a_row = self._rewinds_in_a_row + 1 if step == self._rewound_to else 1
        self._rewound_to, self._skips_in_a_row = step, 0
        if self._rewinds_in_a_row > self._config.max_rewinds_in_a_row:
            raise TrainingError(
                f"from the checkpoint of step {step} on an update was bad {self._rewinds_in_a_row} times, each time "
                f"with other data (bad_updates.max_rewinds_in_a_row={self._config.max_rewinds_in_a_row}). {ADVICE}"
            )

    def counts(self) -> dict[str, float]:
        """How many updates were skipped, and how often the run went back, since it began."""
        return {"optimizer/skipped_updates": float(self._skips), "optimizer/rewinds": float(self._rewinds)}

    def state_dict(self) -> dict[str, Any]:
        """JSON types only."""
        return {
            "norms": list(self._norms),
            "skips": [self._skips, self._skips_in_a_row],
            "rewinds": [self._rewinds, self._rewinds_in_a_row, self._rewound_to],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._norms = list(state["norms"])
        self._skips, self._skips_in_a_row = state["skips"]
        self._rewinds, self._rewinds_in_a_row, self._rewound_to = state["rewinds"]

    @property
    def _norm_limit(self) -> float | None:
        """None: any norm will do, or too few are known to tell."""
        if self._config.spike is None or len(self._norms) < self._config.spike_window_updates // 2:
            return None
        return self._config.spike_times * median(self._norms)

    def _remedy(self, error: BadUpdateError) -> None:
        """Return when the update is skipped."""
        remedy = self._config.spike if error.is_spike else self._config.not_finite
        if remedy == "rewind":
            raise Rewind(str(error))
        self._skips_in_a_row += 1
        if remedy != "skip" or self._skips_in_a_row > self._config.max_skips_in_a_row:
            again = f" {self._skips_in_a_row} updates in a row were bad." if self._skips_in_a_row > 1 else ""
            raise TrainingError(f"{error}; no weight was changed.{again} {ADVICE}")
        self._skips += 1
        log.warning("%s; it is skipped, the %dth so far", error, self._skips)
