"""Groups that teach and weren't needed, kept for a later step."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from nemo_prorl.data.group_state import group_from_json, group_to_json
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.trajectory import Group

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Taken:
    """What the surplus gives a step: `groups`, those that have waited longest first, and how many were `dropped`."""

    groups: list[Group]
    dropped: int


class Surplus:
    """The same groups in the same order on every rank; what it holds is part of a checkpoint.

    A group is older than the policy that trains on it. So it waits `most_steps` at most, and not for a stage that
    samples otherwise: a batch has one temperature, and its groups are of one size.
    """

    def __init__(self, most_steps: int) -> None:
        self._most_steps = most_steps
        self._groups: list[Group] = []
        self._sampling: SamplingParams | None = None

    def take(self, sampling: SamplingParams) -> Taken:
        """What a step that samples so may use; nothing changes before `keep`."""
        if self._sampling is None or _ignoring_seed(sampling) != self._sampling:
            return Taken([], len(self._groups))
        waited = [replace(group, steps_waited=(group.steps_waited or 0) + 1) for group in self._groups]
        young = [group for group in waited if (group.steps_waited or 0) <= self._most_steps]
        return Taken(young, len(waited) - len(young))

    def keep(self, groups: Sequence[Group], sampling: SamplingParams) -> None:
        """Hold these instead of what is held, as a step that samples so leaves them."""
        self._groups, self._sampling = list(groups), _ignoring_seed(sampling)

    def forget(self) -> None:
        """The policy has become another one: nothing that waits is nearly its own."""
        if self._groups:
            log.info("%d groups that waited for the next step are given up", len(self._groups))
        self._groups = []

    def state_dict(self) -> dict[str, Any]:
        """JSON types only."""
        sampling = None if self._sampling is None else asdict(self._sampling)
        return {"sampling": sampling, "groups": [group_to_json(group) for group in self._groups]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._sampling = None if state["sampling"] is None else SamplingParams(**state["sampling"])
        self._groups = [group_from_json(saved) for saved in state["groups"]]


def _ignoring_seed(sampling: SamplingParams) -> SamplingParams:
    return replace(sampling, seed=0)
