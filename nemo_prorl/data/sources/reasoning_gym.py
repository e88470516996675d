"""Problems that reasoning-gym makes on the fly, for the logic verifier."""

from __future__ import annotations

import importlib
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from functools import lru_cache
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field

from nemo_prorl.data.prompt import Row
from nemo_prorl.data.sources.base import as_messages, digest
from nemo_prorl.errors import ConfigError, DataError

# reasoning-gym draws item i from Random(seed + i), so neighbouring seeds share almost all items. Our seeds lie this far
# apart there and numbers wrap around at it: sources of different seeds never share a draw.
ITEMS_PER_SEED = 1_000_000
MAX_SEED = 2_000  # seed x ITEMS_PER_SEED stays below 2**31, which every generator takes

# Two processes, or the same run after a resume, would see other problems (reasoning-gym 0.1.25).
NOT_REPRODUCIBLE = {
    "acre": "its items depend on the size of the data set",
    "codeio": "its items differ at every call, and making them executes third-party snippets",
    "isomorphic_strings": "its items depend on PYTHONHASHSEED",
    "knight_swap": "its items depend on PYTHONHASHSEED",
    "polynomial_multiplication": "its items depend on PYTHONHASHSEED",
    "ransom_note": "its items depend on PYTHONHASHSEED",
    "word_ladder": "its items depend on PYTHONHASHSEED",
}

Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Tasks = Annotated[dict[str, dict[str, Any]], Field(min_length=1)]


class ReasoningGymSource:
    """Problems of one or several reasoning-gym data sets, made when they are asked for.

    Knobs: `tasks` maps a task to its data set's settings; in them, `name` is the data set when the task has a name of
    its own (so one data set can serve an easy and a hard task), and `weight` its share of the rows; the paper's tasks
    are listed in `reasoning_gym_tasks`. `size` None: rows never end. `instruction` follows every question,
    `system_prompt` comes before it; the verifier reads the last <answer>...</answer> of a response, so one of them
    should ask for it unless the model already knows. `scorer` "upstream" pays what reasoning-gym pays also where that
    is for nothing (`nemo_prorl.verifiers.logic_scores`).

    Raises:
        ConfigError: a data set or a setting that reasoning-gym doesn't have.
        DataError: a data set whose items can't be made twice the same.
    """

    def __init__(
        self,
        name: str = "reasoning_gym",
        *,
        tasks: Tasks,
        seed: Seed = 0,
        size: Annotated[int, Field(ge=1)] | None = None,
        instruction: str | None = None,
        system_prompt: str | None = None,
        scorer: Literal["strict", "upstream"] = "strict",
        cached_rows: Annotated[int, Field(ge=1)] = 4096,
    ) -> None:
        self.name, self.seed, self.size = name, seed, size
        self.instruction, self.system_prompt, self._scorer = instruction, system_prompt, scorer
        self.tasks = tuple(tasks)
        self._dataset_names = {task: str(knobs.get("name", task)) for task, knobs in tasks.items()}
        self._settings = {task: _settings_of(knobs) for task, knobs in tasks.items()}
        self._datasets = {task: self._open(task, self._settings[task]) for task in self.tasks}
        self._weights = [self._weight(task, knobs) for task, knobs in tasks.items()]
        self._cached_row = lru_cache(maxsize=cached_rows)(self._make_row)

    @property
    def domains(self) -> Mapping[str, Sequence[int] | None]:
        return {"logic": None if self.size is None else range(self.size)}

    def dataset_of(self, task: str) -> str:
        """The reasoning-gym data set behind a task."""
        return self._dataset_names[task]

    def task_of(self, index: int) -> str:
        """The task of row `index`: drawn by weight, from (seed, index) alone."""
        return random.Random(f"{self.seed}/{index}").choices(self.tasks, self._weights)[0]

    def row(self, index: int) -> Row:
        if self.size is not None and not 0 <= index < self.size:
            raise DataError(f"source {self.name!r} has rows 0 to {self.size - 1}; row {index} was asked for")
        return self.row_of(self.task_of(index), index)

    def row_of(self, task: str, index: int) -> Row:
        """Problem number `index` of one task, whatever the weights."""
        return self._cached_row(task, index % ITEMS_PER_SEED)

    def question_of(self, task: str, index: int) -> str:
        """A problem's own text, without instruction and system prompt."""
        return str(self.row_of(task, index).reference["entry"]["question"])

    def _make_row(self, task: str, item: int) -> Row:
        dataset = self._dataset_names[task]
        try:
            with _global_random_state_kept():
                # Through JSON once, so that an entry is the same whether it was made now or read from a file. What
                # isn't JSON, a few fractions among gsm_symbolic's variables, no scorer looks at.
                entry = json.loads(json.dumps(self._datasets[task][item], default=str))
        except Exception as error:
            raise DataError(
                f"source {self.name!r}: reasoning-gym can't make item {item} of {task!r} ({dataset}) with seed "
                f"{self.seed}: {type(error).__name__}: {error}. Change the task's settings or the seed."
            ) from error
        return row_of_entry(
            entry,
            task=task,
            dataset=dataset,
            settings=self._settings[task],
            source=self.name,
            instruction=self.instruction,
            system_prompt=self.system_prompt,
            scorer=self._scorer,
        )

    def _open(self, task: str, settings: Mapping[str, Any]) -> Any:
        gym = importlib.import_module("reasoning_gym.factory")
        dataset, where = self._dataset_names[task], f"data source {self.name!r}, tasks.{task}"
        if dataset in NOT_REPRODUCIBLE:
            raise DataError(
                f"{where}: {dataset!r} can't be made on the fly: {NOT_REPRODUCIBLE[dataset]}. Write its items to a "
                "file once (one process, PYTHONHASHSEED=0) and read them with a source of name 'jsonl'."
            )
        known = sorted(set(gym.DATASETS) - {"composite"})
        if dataset not in known:
            nearest = get_close_matches(dataset, known, n=3)
            hint = f" Did you mean {' or '.join(map(repr, nearest))}?" if nearest else ""
            raise ConfigError(f"{where}: reasoning-gym has no data set {dataset!r}.{hint} It has: {', '.join(known)}.")
        for key in ("seed", "size"):
            if key in settings:
                raise ConfigError(f"{where}.{key} is not a task's setting; it is set once, for the source")
        try:
            return gym.create_dataset(dataset, seed=self.seed * ITEMS_PER_SEED, size=ITEMS_PER_SEED, **settings)
        except (TypeError, ValueError, AssertionError) as error:
            allowed = sorted(set(gym.DATASETS[dataset][1].__dataclass_fields__) - {"seed", "size"})
            raise ConfigError(
                f"{where}: {dataset!r} refuses {settings}: {error}. Its settings are {', '.join(allowed)}."
            ) from error

    def _weight(self, task: str, knobs: Mapping[str, Any]) -> float:
        weight = knobs.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not 0 < weight < float("inf"):
            raise ConfigError(
                f"data source {self.name!r}, tasks.{task}.weight is {weight!r}; it must be a number above 0"
            )
        return float(weight)


def row_of_entry(
    entry: Mapping[str, Any],
    *,
    task: str,
    dataset: str,
    settings: Mapping[str, Any],
    source: str,
    instruction: str | None,
    system_prompt: str | None,
    scorer: str,
    metadata: Mapping[str, Any] | None = None,
) -> Row:
    """What reasoning-gym made, as a problem for the logic verifier; `settings` are those of the data set."""
    question = entry["question"]
    return Row(
        uid=f"{task}-{digest(question)}",
        domain="logic",
        task=task,
        source=source,
        messages=as_messages(question, instruction, system_prompt),
        verifier="logic",
        # The task's settings too: some scorers look at them (the precision of decimal_arithmetic, say).
        reference={
            "dataset": dataset,
            "entry": entry,
            "config": settings,
            **({} if scorer == "strict" else {"scorer": scorer}),
        },
        metadata=metadata or {},
    )


def _settings_of(knobs: Mapping[str, Any]) -> dict[str, Any]:
    """What reasoning-gym itself is told of a task, as JSON would give it back."""
    settings: dict[str, Any] = json.loads(json.dumps({k: v for k, v in knobs.items() if k not in ("name", "weight")}))
    return settings


@contextmanager
def _global_random_state_kept() -> Iterator[None]:
    """Some data sets draw from, or reseed, the global generators; nobody else should notice."""
    python_state, numpy_state = random.getstate(), np.random.get_state()
    try:
        yield
    finally:
        random.setstate(python_state)
        np.random.set_state(numpy_state)
