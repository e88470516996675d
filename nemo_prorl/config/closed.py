"""What every group of settings is: fixed from birth, and closed unless its keys are a plug-in's knobs."""

from __future__ import annotations

from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator


class Fixed(BaseModel):
    """A value can't be changed after birth, and a number is a finite one."""

    model_config = ConfigDict(frozen=True, protected_namespaces=(), allow_inf_nan=False)

    @field_validator("*", mode="before")
    @classmethod
    def _a_switch_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic would take true for 1, so `kl_weight=true` would be a KL weight of 1."""
        annotation = cls.model_fields[str(info.field_name)].annotation
        if isinstance(value, bool) and {int, float} & {annotation, *get_args(annotation)}:
            raise ValueError(f"should be a number; found {str(value).lower()}")
        return value


class Closed(Fixed):
    """Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")
