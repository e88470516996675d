"""Problems from a JSONL file: one JSON object a line, read by offset, never held whole in memory.

    {"problem": "1+1?", "answer": "2", "domain": "math", "task": "sums"}
    {"messages": [{"role": "user", "content": "..."}], "domain": "code", "task": "apps", "verifier": "code",
     "reference": {"tests": [...]}, "uid": "apps-7", "metadata": {"difficulty": "hard"}}

`messages`, `problem` or `prompt` (a text, or messages) is the question; `reference`, or `answer` for {"answer": ...},
is what the verifier needs. `uid` is by default made of the task and a digest of the messages; `task` is by default the
source's name, `verifier` the domain's name. `reference` and `metadata` are passed on as they are; other fields are
left alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple, Protocol

from nemo_prorl.data.prompt import DOMAINS, Domain, Row
from nemo_prorl.data.sources.base import Message, as_messages, digest
from nemo_prorl.data.sources.lines import JsonLines, Tags
from nemo_prorl.errors import DataError

ROLES = ("system", "user", "assistant")
FIELDS = (
    *("uid", "domain", "task", "source", "verifier", "metadata"),
    *("messages", "problem", "prompt"),  # one of them
    *("reference", "answer"),  # one of them
)


class CheckedRows(Protocol):
    """The objects of a file by number, each of which has been checked."""

    @property
    def tasks(self) -> tuple[str, ...]: ...

    @property
    def numbers_of_domains(self) -> Mapping[str, Sequence[int]]: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> dict[str, Any]: ...

    def where(self, index: int) -> str:
        """Where one stands, for messages."""
        ...


class JsonlSource:
    """Problems from a file; every row is checked before any is used, so that none fails at hour thirty.

    A large file is checked once and has an index beside it from then on (`line_index`): a million rows open at once.

    Knobs: `path` of the file; `domain`, `task` and `verifier` for rows that don't name their own; `instruction` and
    `system_prompt` for rows that give a text rather than messages.
    """

    reads_ahead = True

    def __init__(
        self,
        name: str = "jsonl",
        *,
        path: str,
        domain: Domain | None = None,
        task: str | None = None,
        verifier: str | None = None,
        instruction: str | None = None,
        system_prompt: str | None = None,
    ) -> None:
        self.name = name
        self._format = RowFormat(name, domain, task, verifier, instruction, system_prompt)
        self._rows = self._open(path, f"data source {name!r}, path")
        self.tasks = self._rows.tasks

    @property
    def size(self) -> int:
        return len(self._rows)

    @property
    def domains(self) -> Mapping[str, Sequence[int] | None]:
        return self._rows.numbers_of_domains

    def row(self, index: int) -> Row:
        raw = self._rows[index]
        return self._format.row(self._rows.where(index), raw)

    def _open(self, path: str, setting: str) -> CheckedRows:
        reading = json.dumps(["problems", self.name, self._format.domain, self._format.task, self._format.verifier])
        return JsonLines(path, setting, self._format.tags, reading)


class RowFormat(NamedTuple):
    """How an object of a file becomes a row; what it doesn't say itself is taken from here."""

    source: str
    domain: str | None = None
    task: str | None = None
    verifier: str | None = None
    instruction: str | None = None
    system_prompt: str | None = None

    def row(self, where: str, raw: Mapping[str, Any]) -> Row:
        """
        Raises:
            DataError: it can't be a row; the message begins with `where`.
        """
        refuse_typos(raw, where)
        judged = read_judging(raw, where, domain=self.domain, verifier=self.verifier)
        task = _text(raw, "task", self.task or self.source, where)
        messages = self._messages(raw, where)
        return Row(
            uid=_text(raw, "uid", f"{task}-{digest(json.dumps(messages))}", where),
            domain=judged.domain,
            task=task,
            source=_text(raw, "source", self.source, where),
            messages=messages,
            verifier=judged.verifier,
            reference=judged.reference,
            metadata=_object(raw, "metadata", {}, where),
        )

    def tags(self, where: str, raw: Mapping[str, Any]) -> Tags:
        """What is to be known of an object at the start; raises as `row` does."""
        row = self.row(where, raw)
        return Tags(row.domain, row.task, row.uid if "uid" in raw else None)

    def _messages(self, raw: Mapping[str, Any], where: str) -> tuple[Message, ...]:
        given = [key for key in ("messages", "problem", "prompt") if key in raw]
        if len(given) != 1:
            raise DataError(f"{where}: a row needs one of 'messages', 'problem', 'prompt'; found {given or 'none'}")
        value = raw[given[0]]
        if isinstance(value, str) and given[0] != "messages":
            if not value.strip():
                raise DataError(f"{where}: {given[0]!r} is empty")
            return as_messages(value, self.instruction, self.system_prompt)
        return checked_messages(value, f"{where}: {given[0]!r}")


class Judging(NamedTuple):
    """By whom a response is judged, and what that verifier needs."""

    domain: str
    verifier: str
    reference: Mapping[str, Any]


def read_judging(raw: Mapping[str, Any], where: str, *, domain: str | None, verifier: str | None) -> Judging:
    """What a row says of its verifier; `domain` and `verifier` are for rows that don't name their own.

    Raises:
        DataError: no known domain, or not exactly one of reference and answer; the message begins with `where`.
    """
    domain = _text(raw, "domain", domain, where)
    if domain not in DOMAINS:
        raise DataError(f"{where}: domain {domain!r} is unknown; it is one of {', '.join(DOMAINS)}")
    return Judging(domain, _text(raw, "verifier", verifier or domain, where), _reference(raw, where))


def checked_messages(value: Any, where: str) -> tuple[Message, ...]:
    """`value` as chat messages.

    Raises:
        DataError: it isn't a list of {"role": ..., "content": ...} with known roles and some text.
    """
    if not isinstance(value, list) or not value:
        raise DataError(f"{where} must be a list of {{role, content}}; found {_shown(value)}")
    for message in value:
        if not isinstance(message, dict) or set(message) != {"role", "content"}:
            raise DataError(f"{where}: a message must have 'role' and 'content' alone; found {_shown(message)}")
        if message["role"] not in ROLES:
            raise DataError(f"{where}: role {message['role']!r} is unknown; it is one of {', '.join(ROLES)}")
        if not isinstance(message["content"], str):
            raise DataError(f"{where}: content must be a text; found {_shown(message['content'])}")
    if not any(message["content"].strip() for message in value if message["role"] == "user"):
        raise DataError(f"{where}: the user asks nothing; a question needs a user message with some text")
    return tuple({"role": message["role"], "content": message["content"]} for message in value)


def refuse_typos(raw: Mapping[str, Any], where: str) -> None:
    """Fields of other tools are left alone, but one that is almost ours is a slip that a default would hide."""
    for field in set(raw) - set(FIELDS):
        meant = get_close_matches(field, set(FIELDS) - set(raw), n=1, cutoff=0.85)
        if meant:
            raise DataError(f"{where}: field {field!r} is unknown. Did you mean {meant[0]!r}?")


def _text(raw: Mapping[str, Any], field: str, default: str | None, where: str) -> str:
    value = raw.get(field, default)
    if value is None:
        raise DataError(f"{where}: {field!r} is missing; give it in the row, or once as a knob of the source")
    if not isinstance(value, str) or not value:
        raise DataError(f"{where}: {field!r} must be a text that isn't empty; found {_shown(value)}")
    return value


def _object(raw: Mapping[str, Any], field: str, default: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    value = raw.get(field, default)
    if not isinstance(value, dict):
        raise DataError(f"{where}: {field!r} must be an object {{...}}; found {_shown(value)}")
    return value


def _reference(raw: Mapping[str, Any], where: str) -> Mapping[str, Any]:
    if ("reference" in raw) == ("answer" in raw):
        raise DataError(f"{where}: a row needs either 'reference' or 'answer'")
    if "reference" in raw:
        return _object(raw, "reference", {}, where)
    answer = raw["answer"]
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise DataError(f"{where}: 'answer' must be a text or a number; found {_shown(answer)}")
    return {"answer": str(answer)}


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return f"{type(value).__name__} {text[:80]}{'...' if len(text) > 80 else ''}"
