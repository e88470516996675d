"""Names in a config become objects: from a table of ours, or from a path of yours.

A table maps a name to "module:attribute", so reading it imports nothing. A plug-in's keyword-only arguments are its
knobs: what a config gives besides `name` is checked against the plug-in's own signature, so a new objective,
verifier or engine needs no edit of the schema, and its knobs are documented where they are used.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from functools import partial
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import TypeAdapter, ValidationError

from nemo_prorl.errors import ConfigError, SettingsError


def resolve(name: str, known: Mapping[str, str], setting: str) -> Any:
    """The object called `name` in the table `known`, or at your own "module:attribute".

    Raises:
        SettingsError: the name is in neither.
        ConfigError: its module can't be imported.
    """
    path = known.get(name, name)
    module_name, colon, attribute = path.partition(":")
    if not colon:
        nearest = get_close_matches(name, known, n=1)
        hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
        choices = ", ".join(sorted(known))
        raise SettingsError(
            f"{setting}={name!r} is unknown.{hint} Choose one of {choices}, or write 'your.module:attribute'."
        )
    try:
        return getattr(import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigError(  # what is installed may differ from host to host
            f"{setting}={name!r} can't be loaded from {path!r}: {error}. Install what it needs or choose another."
        ) from error


def knobs_of(target: Callable[..., Any]) -> list[inspect.Parameter]:
    """The keyword-only arguments of a plug-in, each annotated with its type itself, not with a text that names it."""
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)  # type: ignore[misc]
    parameters = inspect.signature(target).parameters.values()
    return [one.replace(annotation=hints.get(one.name, Any)) for one in parameters if one.kind is one.KEYWORD_ONLY]


def check_knobs(target: Callable[..., Any], knobs: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """`knobs` converted to the types of `target`'s keyword-only arguments.

    Raises:
        SettingsError: a knob that `target` doesn't have, one that it needs and isn't given, or a value of the wrong
            type or out of its range.
    """
    known = {knob.name: knob for knob in knobs_of(target)}
    missing = sorted(name for name, knob in known.items() if knob.default is knob.empty and name not in knobs)
    if missing:
        raise SettingsError(
            f"{setting}: {target.__name__} also needs {', '.join(missing)}; set {setting}.{missing[0]}=..."
        )
    checked = {}
    for key, value in knobs.items():
        if key not in known:
            nearest = get_close_matches(key, known, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise SettingsError(
                f"{setting}.{key} is not a knob of {target.__name__}.{hint} If a file of "
                f"conf/ sets it, leave it out by '~{setting}.{key}'. {target.__name__} has: "
                f"{', '.join(sorted(known)) or 'none'}."
            )
        try:
            checked[key] = TypeAdapter(known[key].annotation).validate_python(value)
        except ValidationError as error:
            reason = error.errors()[0]["msg"]
            raise SettingsError(f"{setting}.{key}: {reason}; found {value!r}.") from error
    return checked


def configured(choice: Mapping[str, Any], known: Mapping[str, str], setting: str) -> Callable[..., Any]:
    """What `choice` names, with the rest of `choice` bound as its keyword-only knobs; call it with what else it needs.

    >>> configured({"name": "clip_higher", "clip_low": 0.2}, OBJECTIVES, "objective")  # doctest: +SKIP
    functools.partial(<function clip_higher ...>, clip_low=0.2)
    """
    knobs = {key: value for key, value in choice.items() if key != "name"}
    target = resolve(choice["name"], known, f"{setting}.name")
    return partial(target, **check_knobs(target, knobs, setting))
