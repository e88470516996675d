"""What is known of a published source, and what turns its records into problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeAlias, runtime_checkable

from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prompt import Row
from nemo_prorl.data.sources.base import as_messages, question_key

Record: TypeAlias = Mapping[str, Any]
JSON: TypeAlias = Any

# Key of a row's metadata for what passes look at and training doesn't need; it isn't written to the prepared file.
EVIDENCE = "evidence"
# Key of a row's metadata that says which of a source's files it goes to; training without it.
SPLIT = "split"
TRAINING = "training"


@dataclass(frozen=True)
class Card:
    """A published source, as its card on the hub and the paper describe it.

    `hub` is its name on the Hugging Face hub, None for what is made rather than fetched; `files` is a pattern of the
    files in there, and where it is "" those are read that name the `split`.
    `paper_problems` is how many the paper has of it (Appendix D), in its Table 4.
    """

    title: str
    domain: str
    licence: str
    paper_problems: int
    hub: str | None = None
    split: str = "train"
    files: str = ""
    caution: str = ""  # said whenever the source is prepared


class Converter(Protocol):
    """Turns raw records into problems. Its keyword-only arguments are the source's knobs."""

    card: Card

    def convert(self, record: Record) -> Row | Rejection:
        """The record as a problem, or why it is none: the same each time. A bad record is never an error."""
        ...


class Records(Protocol):
    """Raw records in their order, from where one has stopped."""

    @property
    def origin(self) -> JSON:
        """Where they come from, so exactly that another origin is another data set."""
        ...

    def start(self, position: JSON) -> Iterator[tuple[Record | Rejection, Callable[[], JSON]]]:
        """From `position`, or the first with None: each record, or why it can't be read, with what tells the position
        after it, to be asked before the next one is.

        Raises:
            DataError: they can't be read any further; what was read stays good.
        """
        ...

    def findings(self) -> JSON:
        """What else there is to tell, once all are read; for the manifest."""
        ...


@runtime_checkable
class Makes(Protocol):
    """A converter whose records are made here rather than published."""

    def records(self, work: Path, processes: int) -> Records:
        """What makes them in so many processes; `work` is a folder for what a killed process goes on with."""
        ...


@runtime_checkable
class AsksJudge(Protocol):
    """A converter that may leave it to a language model whether two solutions agree: each row then has evidence."""

    @property
    def needs_judge(self) -> bool: ...


def row_of_question(
    source: str,
    domain: str,
    question: str,
    reference: Mapping[str, Any],
    *,
    instruction: str | None,
    system_prompt: str | None,
    task: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Row:
    """A question of a published source, for its domain's verifier; its uid is made of what is asked.

    The instruction doesn't count for the uid, so that a problem is known by the same name however it is put.
    """
    return Row(
        uid=f"{source}-{question_key(question)}",
        domain=domain,
        task=task or source,
        source=source,
        messages=as_messages(question, instruction, system_prompt),
        verifier=domain,
        reference=reference,
        metadata=metadata or {},
    )


def text_of(record: Record, field: str) -> str | None:
    """A field's text without blanks around it; None where there is none.

    >>> text_of({"problem": " 1+1? "}, "problem"), text_of({"problem": None}, "problem")
    ('1+1?', None)
    """
    value = record.get(field)
    return value.strip() or None if isinstance(value, str) else None


def shown(value: Any, chars: int = 80) -> str:
    """A value for a message, cut short."""
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= chars else f"{text[:chars]}..."
