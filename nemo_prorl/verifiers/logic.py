"""reasoning-gym's own scorers on the last <answer>...</answer>."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import sympy.core.random
from reasoning_gym.dataset import ProceduralDataset
from reasoning_gym.factory import DATASETS, create_dataset

from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.answer import after_reasoning, last_tagged
from nemo_prorl.verifiers.logic_scores import STRICT, upstream
from nemo_prorl.verifiers.logic_screen import EVALUATES_ALGEBRA, EVALUATES_PYTHON, is_literal, is_plain_algebra
from nemo_prorl.verifiers.permission import require_confinement
from nemo_prorl.verifiers.screen import too_costly

MAX_ANSWER_CHARS = 16_384  # or 4 times the solution's
SCORERS = ("strict", "upstream")

_READS_TUPLES = frozenset({"arc_agi", "rearc"})  # they compare boards as tuples, which JSON stores as lists
_NOTHING = "?"  # what a scorer is given in place of an answer that it would execute: it gets the least the task gives
_BROKEN = (
    "reference.entry can't be scored: the scorer of {1!r} {0}. The entry is damaged, was made by another version of "
    "reasoning-gym, or with settings that reference.config doesn't tell"
)


@dataclass(frozen=True)
class _Task:
    """One problem, and how answers to it are scored."""

    dataset: str
    entry: dict[str, Any]
    settings: str  # JSON
    scorer: str

    def score(self, answer: str) -> float:
        """In [0, 1]. Raises whatever the scorer does."""
        sympy.core.random.seed(0)  # simplify tries random numbers: the same ones for every verdict
        score_of = STRICT.get(self.dataset, upstream) if self.scorer == "strict" else upstream
        score = score_of(_instance(self.dataset, self.settings), self._harmless(answer), self.entry)
        return 0.0 if math.isnan(score) else min(max(score, 0.0), 1.0)

    @property
    def gold(self) -> str | None:
        """Five tasks have none."""
        gold = self.entry["answer"]
        return gold if isinstance(gold, str) else None

    @property
    def max_answer_chars(self) -> int:
        return max(MAX_ANSWER_CHARS, 4 * len(self.gold or ""))

    def _harmless(self, answer: str) -> str:
        """The answer, unless the task's scorer would execute it as a program."""
        if answer.strip() == (self.gold or "").strip():
            return answer
        metadata = self.entry["metadata"]
        if self.dataset in EVALUATES_PYTHON:
            return answer if answer in metadata.get("valid_answers", ()) or is_literal(answer) else _NOTHING
        if self.dataset in EVALUATES_ALGEBRA:
            plain = is_plain_algebra(answer, {str(metadata.get("variable", ""))})
            return answer if plain and not too_costly(answer, self.max_answer_chars) else _NOTHING
        return answer


class LogicVerifier:
    """Right as far as the task's scorer in reasoning-gym says so: in [0, 1], often with a floor of 0.01 to 0.1.

    The reference is what reasoning-gym made: {"dataset": "chain_sum", "entry": {"question": ..., "answer": ...,
    "metadata": {...}}}, and "config": {...} when the entry wasn't made with the task's default settings (a few scorers
    look at them). The text must give its answer in <answer>...</answer>, after the reasoning; the last one counts.

    A few of reasoning-gym's scorers pay for answers that solve nothing (`logic_scores`); here these answers get
    nothing, unless the reference says "scorer": "upstream".

    Nine scorers evaluate the answer. They run in a confined process of the pool and nowhere else; what is more than
    a value doesn't reach them even there.
    """

    @staticmethod
    def warm_up() -> None:
        """Read the word lists and boards of all tasks, and have sympy load what it loads late: two seconds, once."""
        for dataset in sorted(set(DATASETS) - {"composite"}):
            _instance(dataset, "{}")
        integral = {"answer": None, "metadata": {"variable": "x", "integrand": "exp(x)*sin(x)"}}
        upstream(_instance("intermediate_integration", "{}"), "exp(x)*(sin(x) - cos(x))/2 + C", integral)

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        task = _read(reference)
        if task.dataset in EVALUATES_PYTHON | EVALUATES_ALGEBRA:
            require_confinement(f"the scorer of {task.dataset!r}")
        judged = text if task.scorer == "upstream" else after_reasoning(text)
        answer = None if judged is None else last_tagged(judged)
        if answer is None:
            _instance(task.dataset, task.settings)  # whatever is wrong with the settings shows now
            return Verdict(0.0, "no <answer>...</answer>", "no_answer")
        if len(answer) > task.max_answer_chars:
            return Verdict(0.0, f"an answer of {len(answer)} characters; at most {task.max_answer_chars} are read")
        reason = f"answered {answer[:80]!r}"
        try:
            score = task.score(answer)
        except Exception as error:
            score = 0.0
            reason = f"the scorer of {task.dataset} can't read the answer: {type(error).__name__}: {error}"
        if score < 1.0:
            _check_entry(task.dataset, task.settings, task.scorer, json.dumps(task.entry, sort_keys=True))
        return Verdict(score, reason)


def _read(reference: Mapping[str, Any]) -> _Task:
    dataset, entry, config = reference.get("dataset"), reference.get("entry"), reference.get("config", {})
    scorer = reference.get("scorer", "strict")
    if not isinstance(dataset, str) or dataset not in DATASETS:
        raise VerifierError(
            f"reference.dataset is {dataset!r}, which this reasoning-gym doesn't have; score with the version that "
            f"made the data"
        )
    if scorer not in SCORERS:
        raise VerifierError(f"reference.scorer of {dataset!r} is {scorer!r}, expected one of {SCORERS}")
    if not isinstance(config, Mapping):
        raise VerifierError(f"reference.config of {dataset!r} is {type(config).__name__}, expected a mapping")
    if not isinstance(entry, Mapping) or not isinstance(entry.get("metadata"), Mapping) or "answer" not in entry:
        found = sorted(entry) if isinstance(entry, Mapping) else type(entry).__name__
        raise VerifierError(
            f"reference.entry of {dataset!r} is {found}, expected reasoning-gym's question, answer and metadata; "
            f"store the whole entry"
        )
    return _Task(dataset, _restored(entry, dataset), json.dumps(config, sort_keys=True), scorer)


@lru_cache(maxsize=256)
def _instance(dataset: str, settings: str) -> ProceduralDataset:
    """The task, made once a process: some read word lists or hundreds of boards for it."""
    return create_dataset(dataset, **{"seed": 0, **json.loads(settings)})


@lru_cache(maxsize=4096)
def _check_entry(dataset: str, settings: str, scorer: str, entry: str) -> None:
    """Make sure that little credit is the answer's doing: most scorers make a damaged entry's reward a silent 0.

    Raises:
        VerifierError: the scorer refuses the entry's own answer, or fails on the entry.
    """
    task = _Task(dataset, _restored(json.loads(entry), dataset), settings, scorer)
    try:
        score = task.score(_NOTHING if task.gold is None else task.gold)
    except Exception as error:
        raise VerifierError(_BROKEN.format(f"fails on the entry: {type(error).__name__}: {error}", dataset)) from error
    if task.gold is not None and score < 1.0:
        raise VerifierError(_BROKEN.format(f"gives {score:g} to the entry's own answer {task.gold[:80]!r}", dataset))


def _restored(entry: Mapping[str, Any], dataset: str) -> dict[str, Any]:
    """The entry as its scorer expects it, however often it has been JSON."""
    return {**entry, "metadata": _tuples(entry["metadata"])} if dataset in _READS_TUPLES else dict(entry)


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, (list, tuple)) else value
