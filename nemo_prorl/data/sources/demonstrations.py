"""Answers to imitate, for the cold start: from a file, or written out for problems that reasoning-gym makes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from math import lcm
from random import Random
from typing import Annotated, Any, Protocol

from pydantic import Field

from nemo_prorl.data.permutation import permuted
from nemo_prorl.data.prompt import Row
from nemo_prorl.data.sources.base import Message, first_of_each_task, question_key
from nemo_prorl.data.sources.jsonl import checked_messages
from nemo_prorl.data.sources.lines import JsonLines, Tags
from nemo_prorl.data.sources.reasoning_gym import ITEMS_PER_SEED, ReasoningGymSource, Seed, Tasks
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import ConfigError, DataError

# Each is called with its knobs alone; what it gives is a `DemonstrationSource`.
DEMONSTRATIONS = {
    "jsonl": "nemo_prorl.data.sources.demonstrations:JsonlDemonstrations",  # messages and responses from a file
    "reasoning_gym": "nemo_prorl.data.sources.demonstrations:ReasoningGymDemonstrations",  # written on the fly
}


@dataclass(frozen=True)
class Demonstration:
    """A chat that ends with the user, and the response to imitate, without the end token.

    `where` it stands, such as path:line, is for messages to the user; "" for one that is made on the fly.
    """

    messages: tuple[Message, ...]
    response: str
    where: str = field(default="", compare=False)


class DemonstrationSource(Protocol):
    """Demonstrations by number, without end: after its last one, a finite source starts over in another order."""

    @property
    def size(self) -> int | None:
        """Demonstrations of one epoch: any so many on end are all that there are. None: ever new ones."""
        ...

    def row(self, index: int) -> Demonstration: ...


def encode_demonstration(tokenizer: Tokenizer, demonstration: Demonstration) -> tuple[list[int], list[int]]:
    """Ids of the prompt, as it is rendered for sampling, and ids of the response with the end token."""
    return tokenizer.render(demonstration.messages), [*tokenizer.encode(demonstration.response), tokenizer.end_id]


class JsonlDemonstrations:
    """{"messages": [...], "response": "..."} a line; without "response", the last message, of the assistant, is it.

    Knobs: `path` of the file; `seed` of the order, which is another one in every epoch.

    Raises:
        DataError: path:line of a row that can't be used. Every row is checked before any is used.
    """

    def __init__(self, *, path: str, seed: Annotated[int, Field(ge=0)] = 0) -> None:
        self._lines = JsonLines(path, "sft.source.path", self._tags, "demonstrations")
        self._seed = seed

    @property
    def size(self) -> int:
        """Demonstrations of one epoch."""
        return len(self._lines)

    def row(self, index: int) -> Demonstration:
        epoch, place = divmod(index, self.size)
        line = permuted(place, self.size, f"{self._seed}/demonstrations/{epoch}")
        return self._demonstration(self._lines.where(line), self._lines[line])

    def _tags(self, where: str, raw: Mapping[str, Any]) -> Tags:
        self._demonstration(where, raw)
        return Tags("", "", None)

    def _demonstration(self, where: str, raw: Mapping[str, Any]) -> Demonstration:
        if "messages" not in raw:
            raise DataError(f"{where}: 'messages' is missing; a row is {{messages, response}}")
        messages = checked_messages(raw["messages"], f"{where}: 'messages'")
        if "response" in raw:
            response = raw["response"]
        else:
            messages, response = messages[:-1], messages[-1]["content"] if messages[-1]["role"] == "assistant" else None
        if not isinstance(response, str) or not response:
            raise DataError(f"{where}: a row needs a text as 'response', or a last message of the assistant")
        if not messages or messages[-1]["role"] != "user":
            raise DataError(f"{where}: the message before the response must be the user's")
        return Demonstration(messages, response, where)


class ReasoningGymDemonstrations:
    """Solutions of reasoning-gym problems, worked out step by step from what the problem's own data say.

    A response reads `<steps></think><answer>X</answer>`: it goes on where a chat template ends its prompt in <think>.

    Knobs: `tasks`, `seed`, `instruction` and `system_prompt` as for the source of problems; `size`: use the first so
    many problems of each task (None: ever new ones); `hasty_fraction`: share of the demonstrations that skip the
    thinking and give another problem's answer: a model that has seen them has something to unlearn. The first
    `held_out_per_task` problems of each task under `held_out_seed` are left out, so that a validation set made with
    that seed is new to the model.
    """

    def __init__(
        self,
        *,
        tasks: Tasks,
        seed: Seed = 0,
        size: Annotated[int, Field(ge=1, le=ITEMS_PER_SEED)] | None = None,
        hasty_fraction: Annotated[float, Field(ge=0, le=1)] = 0.0,
        held_out_seed: Seed | None = None,
        held_out_per_task: Annotated[int, Field(ge=1)] = 24,
        instruction: str | None = None,
        system_prompt: str | None = None,
    ) -> None:
        self.problems_per_task = ITEMS_PER_SEED if size is None else size
        self._seed, self._hasty_fraction = seed, hasty_fraction
        look: dict[str, Any] = {"tasks": tasks, "instruction": instruction, "system_prompt": system_prompt}
        self._source = ReasoningGymSource("demonstrations", seed=seed, **look)
        for task in self._source.tasks:
            _worked(self._source.dataset_of(task))
        self._held_out: frozenset[str] = frozenset()
        if held_out_seed is not None:
            held_out = ReasoningGymSource("demonstrations.held_out", seed=held_out_seed, **look)
            rows = first_of_each_task(held_out, held_out_per_task)
            self._held_out = frozenset(question_key(row.messages) for row in rows)

    @property
    def size(self) -> None:
        """Without end: also a bounded number of problems is asked in ever new company."""

    def row(self, index: int) -> Demonstration:
        rng = Random(f"{self._seed}/demonstration/{index}")
        task = self._source.task_of(index)
        problem = self._problem(task, index)
        entry = problem.reference["entry"]
        if rng.random() < self._hasty_fraction:
            return Demonstration(tuple(problem.messages), response("", self._other_answer(task, problem, rng)))
        steps = _worked(problem.reference["dataset"])(entry["metadata"])
        return Demonstration(tuple(problem.messages), response(steps, entry["answer"]))

    def _problem(self, task: str, index: int) -> Row:
        """The task's problem number `index`, or the next one that isn't held out."""
        for item in range(index, index + self.problems_per_task):
            row = self._source.row_of(task, item % self.problems_per_task)
            if question_key(row.messages) not in self._held_out:
                return row
            if item - index > 1000:
                break
        raise DataError(
            f"sft.source: nearly all problems of task {task!r} are held out, so nothing is left to demonstrate; lower "
            "sft.source.held_out_per_task or widen the task's settings"
        )

    def _other_answer(self, task: str, problem: Row, rng: Random) -> str:
        other = problem
        for _ in range(100):
            other = self._problem(task, rng.randrange(self.problems_per_task))
            if other.uid != problem.uid:
                break
        return str(other.reference["entry"]["answer"])


def response(steps: str, answer: str) -> str:
    """Thinking that the prompt has opened, and the answer in tags."""
    return f"{steps}</think><answer>{answer}</answer>"


def lcm_steps(metadata: Mapping[str, Any]) -> str:
    """Multiples of the largest number, up to the first that all others divide. 4 and 6: "6,12"."""
    largest, goal = max(metadata["numbers"]), lcm(*metadata["numbers"])
    return ",".join(str(multiple) for multiple in range(largest, goal + 1, largest))


def product_steps(metadata: Mapping[str, Any]) -> str:
    """Multiples of the first factor, as many as the next one says; a further factor goes on after a semicolon.

    3 * 4: "3,6,9,12"; 3 * 2 * 2: "3,6;6,12".
    """
    first, *others = [int(factor) for factor in metadata["expression"].split("*")]
    parts = []
    for factor in others:
        parts.append(",".join(str(first * times) for times in range(1, factor + 1)))
        first *= factor
    return ";".join(parts)


def bit_steps(metadata: Mapping[str, Any]) -> str:
    """The number halved down to 1, each with its last bit. 6: "6:0,3:1,1:1"."""
    number, steps = int(metadata["number"]), []
    while number:
        steps.append(f"{number}:{number % 2}")
        number //= 2
    return ",".join(steps)


def sum_steps(metadata: Mapping[str, Any]) -> str:
    """One addition or subtraction after the other. 3 + 4 - 9: "3+4=7;7-9=-2"."""
    first, *rest = metadata["expression"].split()
    total, steps = int(first), []
    for sign, term in zip(rest[::2], rest[1::2], strict=True):
        after = total + int(sign + term)
        steps.append(f"{total}{sign}{term}={after}")
        total = after
    return ";".join(steps)


def gcd_steps(metadata: Mapping[str, Any]) -> str:
    """Euclid's remainders, number by number. 12 and 18: "18%12=6;12%6=0"."""
    numbers: Sequence[int] = metadata["numbers"]
    divisor, steps = numbers[0], []
    for number in numbers[1:]:
        large, small = max(divisor, number), min(divisor, number)
        while small:
            steps.append(f"{large}%{small}={large % small}")
            large, small = small, large % small
        divisor = large
    return ";".join(steps)


# Data sets that we can work out, and what writes their steps from an entry's metadata.
WORKED: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "lcm": lcm_steps,
    "products": product_steps,
    "count_bits": bit_steps,
    "chain_sum": sum_steps,
    "gcd": gcd_steps,
}


def _worked(dataset: str) -> Callable[[Mapping[str, Any]], str]:
    if dataset not in WORKED:
        raise ConfigError(
            f"sft.source.tasks: nobody has written how to work out {dataset!r}; choose among {', '.join(WORKED)}, "
            "or write its solutions to a file and use sft.source.name=jsonl"
        )
    return WORKED[dataset]
