"""Which run a folder belongs to, so that another's is never taken for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from nemo_prorl.config.changes import changes
from nemo_prorl.errors import CheckpointError


@dataclass(frozen=True)
class RunIdentity:
    """Travels with every checkpoint.

    command   the command that made it: train or sft
    model     of the model that the run started from, see `weights.identity`
    settings  the resolved configuration
    """

    command: str
    model: str
    settings: Mapping[str, Any]

    def as_state(self) -> dict[str, Any]:
        return asdict(self)

    def recognise(self, state: Mapping[str, Any]) -> Iterator[str]:
        """What has changed in the settings since `state` was saved.

        Raises:
            CheckpointError: it is the state of another command, or of a run that started from another model.
        """
        if state.get("command") != self.command:
            raise CheckpointError(
                f"the run in this folder is one of `prorl {state.get('command')}`, this is `prorl {self.command}`; "
                "choose another run.dir"
            )
        if state["model"] != self.model:
            raise CheckpointError(
                f"the run in this folder started from another model than model.path, which was "
                f"{state['settings']['model']['path']} then; choose another run.dir, or give the model it started from"
            )
        return changes(state["settings"], self.settings)
