"""Everything that is wrong with a configuration, gathered, in sentences that say what to type."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Generic, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from nemo_prorl.config.inheritance import where_stated
from nemo_prorl.config.paths import Key, dotted, placeholder, unknown_key
from nemo_prorl.errors import SettingsError

MISSING = "???"  # OmegaConf's mark of a value that the user must give
LONGEST_VALUE = 80  # characters of a found value that a message repeats

S = TypeVar("S", bound=BaseModel)


class Problems(Generic[S]):
    """What is wrong so far, one line each, in the order found."""

    def __init__(self, schema: type[S], lines: Sequence[str] = ()) -> None:
        self.schema, self.lines = schema, list(lines)
        self._spoken_of: set[str] = set()

    def add(self, path: str, problem: str) -> None:
        """Note a problem of the setting at `path`; a second one of the same setting is left out."""
        self._add_once(path, f"{path}: {problem}")

    def raise_if_any(self, command: str) -> None:
        """
        Raises:
            SettingsError: with all of them.
        """
        if self.lines:
            count = f"{len(self.lines)} problems" if len(self.lines) > 1 else "a problem"
            listed = "\n".join(f"  - {line}" for line in self.lines)
            raise SettingsError(f"prorl {command} found {count} with its settings:\n{listed}")

    def validate(self, values: Mapping[str, Any], recipe: Mapping[str, Any]) -> S | None:
        """`values` as the schema's model, or None and the reasons noted.

        `recipe` is the recipe before its stages inherited: a stage's setting is named where it is written.
        """
        for path in missing_paths(values):
            self._add_required(path, recipe)
        try:
            return self.schema.model_validate(values)
        except ValidationError as errors:
            for error in errors.errors(include_url=False):
                self._add_error(error, values, recipe)
        return None

    def _add_required(self, path: Sequence[Key], recipe: Mapping[str, Any]) -> None:
        name = dotted(_typed(path, recipe))
        self._add_once(name, f"{name} is required: {name}={placeholder(self.schema, path)}")

    def _add_once(self, subject: str, line: str) -> None:
        if subject not in self._spoken_of:
            self._spoken_of.add(subject)
            self.lines.append(line)

    def _add_error(self, error: ErrorDetails, values: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
        path = [key for key in error["loc"] if key != "[key]"]  # pydantic's mark of a bad key, not of its value
        typed = _typed(path, recipe)
        where = dotted(typed)
        if error["type"] == "missing":
            self._add_required(path, recipe)
        elif error["type"] == "extra_forbidden":
            self._add_once(where, unknown_key(self.schema, path, values, typed))
        elif error["type"] == "value_error":  # a check of the schema's own: it says itself what was found
            problem = error["msg"].removeprefix("Value error, ")
            self._add_once(problem, f"{where}: {problem}" if where else problem)  # stages that inherit it share it
        else:
            self.add(where, f"{_lowered(error['msg'])}; found {_shown(error['input'])}{_hint(error)}")


def missing_paths(values: Any, before: tuple[Key, ...] = ()) -> Iterator[tuple[Key, ...]]:
    """Where a value stands open (???), for the user to give."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from missing_paths(value, (*before, key))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from missing_paths(value, (*before, index))
    elif isinstance(values, str) and values == MISSING:
        yield before


def _typed(path: Sequence[Key], recipe: Mapping[str, Any]) -> Sequence[Key]:
    if path and path[0] == "recipe":
        return ("recipe", *where_stated(recipe, path[1:]))
    return path


def _lowered(message: str) -> str:
    return message.replace("Input should be", "should be", 1) if message.startswith("Input should") else message


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= LONGEST_VALUE else text[: LONGEST_VALUE - 3] + "..."


def _hint(error: ErrorDetails) -> str:
    if error["type"] == "string_type" and isinstance(error["input"], int | float):
        return f". To give a number as text, quote it twice: \"'{error['input']}'\""
    return ""
