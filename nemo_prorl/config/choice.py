"""A plug-in that a setting names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field


class Choice(BaseModel):
    """A plug-in by name, or by your own "module:attribute"; the other keys are its knobs, checked against itself."""

    model_config = ConfigDict(extra="allow", frozen=True, allow_inf_nan=False)

    name: str = Field(min_length=1)

    def as_mapping(self) -> dict[str, Any]:
        return self.model_dump()


def as_knobs(choice: Choice, *without: str) -> Mapping[str, Any]:
    """A choice as `plugins.configured` takes it: its name and its knobs, less what the setting itself is to know."""
    ours = {*without, *(set(type(choice).model_fields) - {"name"})}
    return {key: value for key, value in choice.as_mapping().items() if key not in ours}
