"""What the trainer asks of a validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Group


class Validated(Protocol):
    """What came of a validation: one score to steer by, metrics to log, a line to read."""

    @property
    def score(self) -> float: ...

    @property
    def metrics(self) -> Mapping[str, float]: ...

    @property
    def best(self) -> float | None:
        """What the best checkpoint is chosen by, the larger the better; None: not measured this time."""
        ...

    @property
    def summary(self) -> str: ...

    @property
    def examples(self) -> Mapping[str, Sequence[Group]]: ...


class Validator(Protocol):
    """Judges the policy on held-out problems, and decides whether it is time to. Its memory is part of a checkpoint."""

    def takes_turn(self, step: int, *, is_due: bool, is_last: bool) -> bool: ...

    def run(self, step: int, sampling: SamplingParams, *, is_last: bool = False) -> Validated: ...

    def state_dict(self) -> dict[str, Any]: ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None: ...
