"""Dotted paths through the schema: which keys there are, and which one a user may have meant.

The schema's models nest in three ways: a field may be a model, an optional model, or a dict of models by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import PydanticUndefined

Model = type[BaseModel]
Key = int | str


def dotted(path: Sequence[Key]) -> str:
    """A path as the user types it."""
    return ".".join(map(str, path))


def closed_model_at(root: Model, path: Sequence[Key]) -> Model | None:
    """The model whose fields are the keys below `path`; None where keys are free or there are none."""
    annotation: Any = root
    for key in path:
        if (named := _dict_values(annotation)) is not None:
            annotation = named
        elif (model := _model(annotation)) is not None and key in model.model_fields:
            annotation = model.model_fields[str(key)].annotation
        else:
            return None
    return _model(annotation)


def holds_names(root: Model, path: Sequence[Key]) -> bool:
    """Whether the keys below `path` are names that a user gives to models (stages, sources)."""
    parent = closed_model_at(root, path[:-1])
    if not path or parent is None or path[-1] not in parent.model_fields:
        return False
    values = _dict_values(parent.model_fields[str(path[-1])].annotation)
    return values is not None and _model(values) is not None


def is_unknown(model: Model, key: Key) -> bool:
    """Whether the model refuses a key: it has no such field, and its knobs aren't free."""
    return key not in model.model_fields and model.model_config["extra"] == "forbid"


def unknown_key(root: Model, path: Sequence[Key], values: Mapping[str, Any], typed: Sequence[Key] = ()) -> str:
    """The message about an unknown key. `typed`: where the user wrote it, if that isn't `path`; see `nearest`."""
    typed = typed or path
    meant = nearest(root, path, values)
    place, typed_place = (dotted([*part[:-1], ""]) for part in (path, typed))
    if meant is not None and meant.startswith(place):
        meant = typed_place + meant.removeprefix(place)
    return f"{dotted(typed)}: unknown key.{f' Did you mean {meant}?' if meant else ''}"


def placeholder(root: Model, path: Sequence[Key]) -> str:
    """What stands for a value in a message: FOLDER or FILE where the field says so, else VALUE."""
    model = closed_model_at(root, path[:-1])
    field = model.model_fields.get(str(path[-1])) if model is not None and path else None
    if field is not None and field.examples:
        return str(field.examples[0])
    return "FILE" if path and path[-1] == "path" else "VALUE"


def nearest(root: Model, path: Sequence[Key], values: Mapping[str, Any]) -> str | None:
    """The known path that an unknown one most likely means, or None.

    First a key of the same place with a slip of the pen, then one of the same name elsewhere, then whatever is alike.
    `values` is the configuration as it was given; it tells the names of stages and sources.
    """
    typed = [str(part) for part in path]
    place, key = typed[:-1], typed[-1]
    model = closed_model_at(root, place)
    siblings = list(model.model_fields) if model is not None else []
    everywhere = list(_all_paths(root, values))
    same_name = [known for known in everywhere if known[-1] == key]
    if alike := get_close_matches(key, siblings, n=1, cutoff=0.75):
        return dotted([*place, alike[0]])
    if same_name:
        closest = max(same_name, key=lambda known: _shared(known, typed))
        return dotted(closest)
    if alike := get_close_matches(key, siblings, n=1, cutoff=0.6):
        return dotted([*place, alike[0]])
    alike = get_close_matches(key, {known[-1] for known in everywhere}, n=1, cutoff=0.75)
    return next((dotted(known) for known in everywhere if alike and known[-1] == alike[0]), None)


def default_tree(model: Model) -> dict[str, Any]:
    """The defaults that stand on the fields, nested; fields without a default are left out where nothing is below."""
    tree: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        inner = _model(field.annotation)
        if field.default is PydanticUndefined:
            if inner is not None and (below := default_tree(inner)):
                tree[name] = below
        elif isinstance(field.default, BaseModel):
            tree[name] = field.default.model_dump()
        else:
            tree[name] = field.default
    return tree


def _all_paths(model: Model, values: Any, before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every path of the schema; below a dict of models, of the names that `values` has."""
    for name, field in model.model_fields.items():
        path = (*before, name)
        yield path
        value = values[name] if isinstance(values, Mapping) and name in values else {}
        if (inner := _model(field.annotation)) is not None:
            yield from _all_paths(inner, value, path)
        elif (named := _dict_values(field.annotation)) is not None and (inner := _model(named)) is not None:
            for entry in value if isinstance(value, Mapping) else ():
                yield (*path, str(entry))
                yield from _all_paths(inner, value[entry], (*path, str(entry)))


def _model(annotation: Any) -> Model | None:
    """The model that an annotation is, or may be (`Model | None`)."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) is dict:
        return None
    return next((model for part in get_args(annotation) if (model := _model(part)) is not None), None)


def _dict_values(annotation: Any) -> Any:
    return get_args(annotation)[1] if get_origin(annotation) is dict else None


def _shared(known: Sequence[str], path: Sequence[str]) -> int:
    return sum(a == b for a, b in zip(known, path, strict=False))
