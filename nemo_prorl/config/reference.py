"""Every setting of a command with its type, default, range and meaning, read from the schema's own fields."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from nemo_prorl.config.choice import Choice
from nemo_prorl.config.closed import Closed, Fixed

# How a key is written that the user makes up: recipe.stages.<stage>.steps.
NAMES = {
    "stages": "<stage>",
    "sources": "<source>",
    "held_out": "<set>",
    "shaping": "<label>",
    "evaluation": "<set>",
    "benchmarks": "<set>",
}
KINDS = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
BOUNDS = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}


@dataclass(frozen=True)
class Setting:
    """One key. `default` and `allowed` as a user would type or say them; `default` None: it has to be given."""

    path: str
    kind: str
    default: str | None
    allowed: str
    meaning: str


@dataclass(frozen=True)
class Section:
    """The keys of one group: what stands in YAML under `path`. `meaning`: what the group is for."""

    path: str
    meaning: str
    settings: tuple[Setting, ...]


def sections(schema: type[BaseModel], path: str = "", defaults: BaseModel | None = None) -> Iterator[Section]:
    """A schema's groups, each before those inside it, in the order of its fields.

    `defaults` is what stands for the group where it is not written; without it, the fields' own defaults hold.
    """
    own, inner = [], []
    for name, field in schema.model_fields.items():
        place = f"{path}.{name}" if path else name
        default = field.default if defaults is None else getattr(defaults, name)
        model, is_named = _group(field.annotation)
        if model is None or issubclass(model, Choice) or NoneType in get_args(field.annotation):
            own.append(_setting(place, field, default))
        if model is not None and set(model.model_fields) != {"name"}:  # a plug-in's own keys are its knobs
            below = default if isinstance(default, BaseModel) else None
            inner.append((f"{place}.{NAMES.get(name, '<name>')}" if is_named else place, model, below))
    if own:
        yield Section(path, _meaning(schema), tuple(own))
    for place, model, below in inner:
        yield from sections(model, place, below)


def settings(schema: type[BaseModel]) -> list[Setting]:
    """All keys of a schema."""
    return [setting for section in sections(schema) for setting in section.settings]


def default_as_typed(value: Any) -> str:
    """A value as YAML, and a user on the command line, has it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        stated = value.model_dump(exclude_unset=True)
        return str(stated["name"]) if set(stated) == {"name"} else "as below"
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {default_as_typed(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return "[" + ", ".join(map(default_as_typed, value)) + "]"
    return f"{value:g}" if isinstance(value, float) else str(value)


def kind_of(annotation: Any) -> str:
    """A type in words: `int | None` is "whole number, or null"."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        bounds = bounds_of(arguments[1:])
        return kind_of(arguments[0]) + (f" {bounds}" if bounds else "")
    if origin is Literal:
        return ", ".join(map(str, arguments[:-1])) + f" or {arguments[-1]}" if len(arguments) > 1 else str(arguments[0])
    if origin in (Union, UnionType):
        kinds = [kind_of(part) for part in arguments if part is not NoneType]
        return " or ".join(kinds) + (", or null" if NoneType in arguments else "")
    if origin is list:
        return f"list of {kind_of(arguments[0])}"
    if origin is tuple:
        return "[" + ", ".join(map(kind_of, arguments)) + "]"
    if origin is dict:
        return f"{kind_of(arguments[1])} by name"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "plug-in" if issubclass(annotation, Choice) else "group"
    return KINDS.get(annotation, "anything")


def bounds_of(metadata: Sequence[Any]) -> str:
    """Ranges as pydantic keeps them with a field, or in an annotation: "> 0, <= 1"."""
    found = []
    for mark in metadata:
        if isinstance(mark, FieldInfo):
            found.append(bounds_of(mark.metadata))
        found += [
            f"{sign} {default_as_typed(getattr(mark, name))}" for name, sign in BOUNDS.items() if hasattr(mark, name)
        ]
    return ", ".join(filter(None, found))


def _setting(path: str, field: FieldInfo, default: Any) -> Setting:
    return Setting(
        path=path,
        kind=kind_of(field.annotation),
        default=None if default is PydanticUndefined else default_as_typed(default),
        allowed=bounds_of(field.metadata),
        meaning=field.description or "",
    )


def _group(annotation: Any) -> tuple[type[BaseModel] | None, bool]:
    """The model below a field, if there is one, and whether the user names its entries."""
    if get_origin(annotation) is dict:
        model, _ = _group(get_args(annotation)[1])
        return model, model is not None
    parts = (annotation, *get_args(annotation))
    return next((part for part in parts if isinstance(part, type) and issubclass(part, BaseModel)), None), False


def _meaning(schema: type[BaseModel]) -> str:
    """The first paragraph of the class's docstring, or of the one it specialises."""
    for one in schema.__mro__:
        if one in (Closed, Choice, Fixed):
            break
        if text := vars(one).get("__doc__"):
            return " ".join(inspect.cleandoc(text).partition("\n\n")[0].split())
    return ""
