"""What a user types after the command, made ready for Hydra, and everything that is wrong with it.

Hydra refuses keys that no YAML file states, one at a time. Most keys stand on the schema's fields alone, so plain
overrides of values are handed to Hydra as "set, whether it is stated or not", and the schema judges them later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from pydantic import BaseModel

from nemo_prorl.config.folder import Options, options_in
from nemo_prorl.config.paths import closed_model_at, dotted, holds_names, is_unknown, unknown_key

SEARCH_PATH = "hydra.searchpath"
GRAMMAR = "a setting is KEY=VALUE; quote a value with commas, spaces or = as in 'run.dir=\"a b\"'"


@dataclass(frozen=True)
class Value:
    """An override of a value: `text` as Hydra takes it, `adds` when a "+" in front asked for something new."""

    text: str
    path: tuple[str, ...]
    adds: bool = False


@dataclass(frozen=True)
class Overrides:
    """Overrides, sorted: `groups` choose YAML files (as Hydra takes them), `values` set keys, the rest is wrong."""

    groups: list[str] = field(default_factory=list)
    values: list[Value] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def unknown_keys(values: Sequence[Value], schema: type[BaseModel]) -> list[str]:
    """The overrides that no choice of YAML files could make right."""
    problems = []
    for value in values:
        for end in range(1, len(value.path) + 1):
            model = closed_model_at(schema, value.path[: end - 1])
            if model is not None and is_unknown(model, value.path[end - 1]):
                problems.append(unknown_key(schema, value.path[:end], {}))
    return problems


def unknown_names(values: Sequence[Value], schema: type[BaseModel], composed: Mapping[str, Any]) -> dict[Value, str]:
    """The overrides for stages and sources that aren't there; `composed` is what the YAML files say without them.

    A name with a slip of the pen in it would otherwise make a new stage, which inherits everything and looks right.
    """
    added = {value.path[:end] for value in values if value.adds for end in range(1, len(value.path) + 1)}
    problems = {}
    for value in values:
        for place, name in enumerate(value.path):
            names_path = value.path[:place]
            if value.adds or not holds_names(schema, names_path) or value.path[: place + 1] in added:
                continue
            if name not in (known := _names_at(composed, names_path)):
                key = dotted(value.path)
                problems[value] = (
                    f"{key}: {dotted(names_path)} has no {name!r}.{did_you_mean(name, known)} It has "
                    f"{', '.join(known) or 'nothing'}; to add one, write +{key}=..."
                )
    return problems


def understand(raw_overrides: Sequence[str], conf: Path) -> Overrides:
    """Sort out what was typed; what can't be understood stands under `problems`, all of it."""
    parsed: list[tuple[str, Override]] = []
    understood = Overrides()
    for raw in raw_overrides:
        try:
            parsed.append((raw, OverridesParser.create().parse_override(raw)))
        except HydraException:
            understood.problems.append(f"{raw!r} can't be read: {GRAMMAR}")
    options = options_in([conf, *_search_path(override for _, override in parsed)])
    for raw, override in parsed:
        _sort_in(understood, raw, override, options)
    return understood


def _sort_in(understood: Overrides, raw: str, override: Override, options: Options) -> None:
    key = override.key_or_group
    if override.is_sweep_override():
        understood.problems.append(f"{raw!r} gives several values to {key}; one run has one: {GRAMMAR}")
    elif key == SEARCH_PATH:
        understood.groups.append(raw)
    elif key == "hydra" or key.startswith("hydra."):
        understood.problems.append(f"{key} has no effect here; of Hydra's own settings only {SEARCH_PATH} has")
    elif key in options and not override.is_delete():
        if problem := _group_problem(key, override.value(), options[key]):
            understood.problems.append(problem)
        else:
            understood.groups.append(raw)
    elif override.is_delete():
        understood.values.append(Value(raw, tuple(key.split(".")), adds=True))  # Hydra knows whether it is there
    else:
        adds = override.is_add() or override.is_force_add()
        understood.values.append(Value("++" + raw.lstrip("+"), tuple(key.split(".")), adds))


def _group_problem(group: str, value: Any, names: Sequence[str]) -> str | None:
    for name in value if isinstance(value, list) else [value]:
        if not isinstance(name, str) or name not in names:
            return f"{group}={name} is unknown.{did_you_mean(str(name), names)} Choose one of {', '.join(names)}"
    return None


def _search_path(overrides: Iterable[Override]) -> list[Path]:
    folders: list[Path] = []
    for override in overrides:
        if override.key_or_group == SEARCH_PATH and isinstance(value := override.value(), list):
            folders += [Path(str(folder).removeprefix("file://")) for folder in value]
    return folders


def _names_at(values: Any, path: Sequence[str]) -> list[str]:
    for key in path:
        values = values[key] if isinstance(values, Mapping) and key in values else {}
    return list(values) if isinstance(values, Mapping) else []


def did_you_mean(name: str, known: Sequence[str]) -> str:
    """A hint at the nearest of the known names, or nothing."""
    nearest = get_close_matches(name, known, n=1)
    return f" Did you mean {nearest[0]!r}?" if nearest else ""
