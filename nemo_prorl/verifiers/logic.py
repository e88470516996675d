"""reasoning-gym's own scorers on the last <answer>...</answer>."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import sympy.core.random
from reasoning_gym.dataset import ProceduralDataset
from reasoning_gym.factory import DATASETS, create_dataset

from nemo_prorl.data.trajectory import Verdict
from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.answer import last_tagged
from nemo_prorl.verifiers.screen import is_literal, is_plain_algebra, too_costly

MAX_ANSWER_CHARS = 16_384

_READS_TUPLES = frozenset({"arc_agi", "rearc"})  # they compare boards as tuples, which JSON stores as lists
_EVALUATES_PYTHON = frozenset({"binary_matrix", "n_queens", "spiral_matrix", "string_insertion"})
_EVALUATES_ALGEBRA = frozenset(
    {"countdown", "puzzle24", "simple_integration", "intermediate_integration", "polynomial_multiplication"}
)
_NOTHING = "?"  # what a scorer is given in place of an answer that it would execute: it gets the least the task gives
_BROKEN = (
    "reference.entry can't be scored: the scorer of {1!r} {0}. The entry is damaged, was made by another version of "
    "reasoning-gym, or with settings that reference.config doesn't tell"
)


class LogicVerifier:
    """Right as far as the task's scorer in reasoning-gym says so: in [0, 1], often with a floor of 0.01 to 0.1.

    The reference is what reasoning-gym made: {"dataset": "chain_sum", "entry": {"question": ..., "answer": ...,
    "metadata": {...}}}, and "config": {...} when the entry wasn't made with the task's default settings (a few scorers
    look at them). The text must give its answer in <answer>...</answer>; the last one counts.
    """

    def check(self, reference: Mapping[str, Any], text: str) -> Verdict:
        dataset, entry, config = _read(reference)
        settings = json.dumps(config, sort_keys=True)
        scorer = _scorer(dataset, settings)
        answer = last_tagged(text)
        if answer is None:
            return Verdict(0.0, "no <answer>...</answer>", "no_answer")
        if len(answer) > MAX_ANSWER_CHARS:
            return Verdict(0.0, f"an answer of {len(answer)} characters; at most {MAX_ANSWER_CHARS} are read")
        reason = f"answered {answer[:80]!r}"
        try:
            score = _score(scorer, dataset, answer, entry)
        except Exception as error:
            score = 0.0
            reason = f"the scorer of {dataset} can't read the answer: {type(error).__name__}: {error}"
        if score < 1.0:
            _check_entry(dataset, settings, json.dumps(entry, sort_keys=True))
        return Verdict(score, reason)


def _read(reference: Mapping[str, Any]) -> tuple[str, dict[str, Any], Mapping[str, Any]]:
    dataset, entry, config = reference.get("dataset"), reference.get("entry"), reference.get("config", {})
    if not isinstance(dataset, str) or dataset not in DATASETS:
        raise VerifierError(
            f"reference.dataset is {dataset!r}, which this reasoning-gym doesn't have; score with the version that "
            f"made the data"
        )
    if not isinstance(config, Mapping):
        raise VerifierError(f"reference.config of {dataset!r} is {type(config).__name__}, expected a mapping")
    if not isinstance(entry, Mapping) or not isinstance(entry.get("metadata"), Mapping) or "answer" not in entry:
        found = sorted(entry) if isinstance(entry, Mapping) else type(entry).__name__
        raise VerifierError(
            f"reference.entry of {dataset!r} is {found}, expected reasoning-gym's question, answer and metadata; "
            f"store the whole entry"
        )
    metadata = entry["metadata"]
    return dataset, {**entry, "metadata": _tuples(metadata) if dataset in _READS_TUPLES else metadata}, config


@lru_cache(maxsize=256)
def _scorer(dataset: str, config: str) -> ProceduralDataset:
    """The task, made once a process: some read word lists or hundreds of boards for it."""
    return create_dataset(dataset, **{"seed": 0, **json.loads(config)})


def _score(scorer: ProceduralDataset, dataset: str, answer: str, entry: dict[str, Any]) -> float:
    """In [0, 1]. Raises whatever the scorer does."""
    sympy.core.random.seed(0)  # simplify tries random numbers: the same ones for every verdict
    score = float(scorer.score_answer(_harmless(answer, dataset, entry), entry))
    return 0.0 if math.isnan(score) else min(max(score, 0.0), 1.0)


@lru_cache(maxsize=4096)
def _check_entry(dataset: str, settings: str, entry: str) -> None:
    """Make sure that little credit is the answer's doing: most scorers make a damaged entry's reward a silent 0.

    Raises:
        VerifierError: the scorer refuses the entry's own answer, or fails on the entry.
    """
    restored = json.loads(entry)
    if dataset in _READS_TUPLES:
        restored["metadata"] = _tuples(restored["metadata"])
    gold = restored["answer"]  # five tasks have none
    try:
        score = _score(_scorer(dataset, settings), dataset, gold if isinstance(gold, str) else _NOTHING, restored)
    except Exception as error:
        raise VerifierError(_BROKEN.format(f"fails on the entry: {type(error).__name__}: {error}", dataset)) from error
    if isinstance(gold, str) and score < 1.0:
        raise VerifierError(_BROKEN.format(f"gives {score:g} to the entry's own answer {gold[:80]!r}", dataset))


def _harmless(answer: str, dataset: str, entry: Mapping[str, Any]) -> str:
    """The answer, unless the task's scorer would execute it as a program."""
    if dataset in _EVALUATES_PYTHON:
        known = {str(entry["answer"]).strip(), *entry["metadata"].get("valid_answers", ())}
        return answer if answer in known or is_literal(answer) else _NOTHING
    if dataset in _EVALUATES_ALGEBRA:
        variable = str(entry["metadata"].get("variable", ""))
        return answer if is_plain_algebra(answer, {variable}) and not too_costly(answer) else _NOTHING
    return answer


def _tuples(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _tuples(inner) for key, inner in value.items()}
    return tuple(_tuples(inner) for inner in value) if isinstance(value, (list, tuple)) else value
