"""What every source of problems does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol

from nemo_prorl.data.prompt import Row
from nemo_prorl.errors import DataError

PATIENCE = 2_000  # rows of a source to look at in vain before we say that nothing new will come

Message = Mapping[str, str]


class Source(Protocol):
    """Problems by number. The same number gives the same row in every process, today and after a resume.

    Its class may have `reads_ahead = True`: then rows are also read in another thread, before they are drawn. A source
    that touches anything which the process shares, such as a global random generator, must not.
    """

    @property
    def tasks(self) -> tuple[str, ...]:
        """Every task that its rows belong to."""
        ...

    @property
    def size(self) -> int | None:
        """Rows, numbered from 0; None when they never end."""
        ...

    @property
    def domains(self) -> Mapping[str, Sequence[int] | None]:
        """The row numbers of each domain; None stands for all numbers of a source that never ends."""
        ...

    def row(self, index: int) -> Row:
        """Row number `index`.

        Raises:
            DataError: the row can't be read or made any more.
        """
        ...


def first_of_each_task(
    source: Source, per_task: int, usable: Callable[[Row], bool] = lambda row: True
) -> Iterator[Row]:
    """The first `per_task` usable rows of each task whose questions differ, in the source's order.

    A finite source gives what it has.

    Raises:
        DataError: an endless source doesn't have so many.
    """
    missing = dict.fromkeys(source.tasks, per_task)
    seen: set[str] = set()
    in_vain = 0
    index = 0
    while any(missing.values()) and index != source.size:
        row = source.row(index)
        index += 1
        key = question_key(row.messages)
        if missing[row.task] and key not in seen:
            seen.add(key)
            if usable(row):
                missing[row.task] -= 1
                in_vain = 0
                yield row
                continue
        in_vain += 1
        if source.size is None and in_vain >= PATIENCE * len(missing):
            short = {task: per_task - count for task, count in missing.items() if count}
            raise DataError(
                f"held-out problems of source {row.source!r}: only {short} different ones exist, {per_task} a task are "
                f"wanted; ask for fewer (problems_per_task) or widen the task's settings"
            )


def question_key(messages: Sequence[Message] | str) -> str:
    """A short digest of what the user asks, so that the same question is known however it is spaced or capitalised."""
    if not isinstance(messages, str):
        messages = "\n".join(message["content"] for message in messages if message["role"] == "user")
    return digest(" ".join(messages.casefold().split()))


def digest(text: str) -> str:
    """16 hexadecimal digits, the same in every process."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def as_messages(question: str, instruction: str | None, system_prompt: str | None) -> tuple[Message, ...]:
    """A question as a chat: the instruction follows it after an empty line; the system prompt, if any, comes first."""
    content = f"{question}\n\n{instruction}" if instruction else question
    user: Message = {"role": "user", "content": content}
    return ({"role": "system", "content": system_prompt}, user) if system_prompt else (user,)
