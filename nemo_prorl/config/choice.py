"""A plug-in, as a configuration names it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ConfigDict, Field

from nemo_prorl.config.closed import Fixed


class Choice(Fixed):
    """A plug-in by name, or by your own "module:attribute"; the other keys are its knobs, checked against itself."""

    model_config = ConfigDict(extra="allow")

    name: str = Field(min_length=1)

    def as_mapping(self) -> dict[str, Any]:
        return self.model_dump()


class SourceConfig(Choice):
    """One source of problems. `weight` is its share of the draws; `domain` is known to the source itself."""

    weight: float = Field(1.0, gt=0)


def as_knobs(choice: Choice) -> Mapping[str, Any]:
    """A choice as `plugins.configured` takes it: its name and its knobs, without the fields of its own class."""
    fields = type(choice).model_fields.keys() - Choice.model_fields.keys()
    return {key: value for key, value in choice.as_mapping().items() if key not in fields}
