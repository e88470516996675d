"""An evaluation's folder: the one place that knows which file of it holds what.

    manifest.json               what was asked of which model; see `records.Manifest`
    problems.parquet            a row a problem: `PROBLEM_COLUMNS`
    samples/aime_2024-00000.parquet   a row an answer: `SAMPLE_COLUMNS`; a file holds all answers to some problems
    results.json                what came of it, once every answer is there; see `records.Results`
    tables.md, tables.txt       the same in the paper's layouts
    status.json, attempts/      as in a training's folder: how it stands, and its logs

Files appear whole or not at all, so whatever is there can be trusted, also after kill -9.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ValidationError

from nemo_prorl.data.kept import kept_whole
from nemo_prorl.data.parquet import Kind, read_table, write_table
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.trajectory import Group
from nemo_prorl.errors import DataError
from nemo_prorl.evaluation.records import Manifest, Results

MANIFEST, RESULTS, PROBLEMS, SAMPLES = "manifest.json", "results.json", "problems.parquet", "samples"
TABLES_MARKDOWN, TABLES_TEXT = "tables.md", "tables.txt"
FAILED = "failed"  # there from a rank's failure to the next start

# `messages`, `reference` and `metadata` are JSON text. A problem is known by its set and its uid.
PROBLEM_COLUMNS: Mapping[str, Kind] = {
    "set": "text",
    "uid": "text",
    "domain": "text",
    "task": "text",
    "source": "text",
    "prompt_tokens": "integer",
    "messages": "text",
    "verifier": "text",
    "reference": "text",
    "metadata": "text",
}
SAMPLE_COLUMNS: Mapping[str, Kind] = {
    "set": "text",
    "uid": "text",
    "domain": "text",
    "task": "text",
    "sample": "integer",
    "reward": "number",
    "outcome": "text",
    "reason": "text",
    "finish_reason": "text",
    "response_tokens": "integer",
    "text": "text",
    "tokens": "tokens",
}

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class Answers:
    """The judged answers to one problem: `rewards` float64 [n], in the order of samples."""

    uid: str
    domain: str
    task: str
    rewards: NDArray[np.float64]
    response_tokens: NDArray[np.int64]
    outcomes: tuple[str, ...]
    finish_reasons: tuple[str, ...]

    def solved(self, solved_reward: float) -> int:
        """How many are right."""
        return int((self.rewards >= solved_reward).sum())


class EvaluationFolder:
    """Writes and reads an evaluation. `path` need not exist."""

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    # -- writing -----------------------------------------------------------------------------------------------------

    def write_manifest(self, manifest: Manifest) -> None:
        write_document(self.path / MANIFEST, manifest)

    def write_problems(self, by_set: Mapping[str, Sequence[Prompt]]) -> None:
        rows = [_problem_row(name, prompt) for name, prompts in by_set.items() for prompt in prompts]
        write_table(self.path / PROBLEMS, PROBLEM_COLUMNS, _columns(rows, PROBLEM_COLUMNS))

    def write_part(self, set_name: str, part: int, groups: Iterable[Group]) -> None:
        """All answers to the problems of part number `part` of a set."""
        rows = [row for group in groups for row in _sample_rows(set_name, group)]
        write_table(self.part_path(set_name, part), SAMPLE_COLUMNS, _columns(rows, SAMPLE_COLUMNS))

    def write_results(self, results: Results) -> None:
        write_document(self.path / RESULTS, results)

    def begin(self) -> None:
        """Before more answers come: an evaluation that is under way has no results, and hasn't failed yet."""
        for name in (RESULTS, FAILED):
            (self.path / name).unlink(missing_ok=True)

    def note_failure(self) -> None:
        """For the other ranks."""
        with suppress(OSError):
            (self.path / FAILED).touch()

    def has_failed(self) -> bool:
        """Whether some rank has."""
        return (self.path / FAILED).exists()

    # -- reading -----------------------------------------------------------------------------------------------------

    def part_path(self, set_name: str, part: int) -> Path:
        return self.path / SAMPLES / f"{set_name}-{part:05d}.parquet"

    def part_names(self) -> frozenset[str]:
        """The names of all files that are there, of parts of any set; a single look at the file system."""
        samples = self.path / SAMPLES
        return frozenset(os.listdir(samples)) if samples.is_dir() else frozenset()

    def parts(self, set_name: str) -> list[Path]:
        """The files of a set that are there, in order."""
        return sorted((self.path / SAMPLES).glob(f"{set_name}-[0-9][0-9][0-9][0-9][0-9].parquet"))

    def manifest(self) -> Manifest:
        """
        Raises:
            DataError: it isn't there, or not readable; that holds for all that is read here.
        """
        return read_document(self.path / MANIFEST, Manifest, "run `prorl evaluate` first")

    def results(self) -> Results:
        """Those of a finished evaluation."""
        return read_document(self.path / RESULTS, Results, "run the same `prorl evaluate` again: it goes on")

    def has_manifest(self) -> bool:
        return (self.path / MANIFEST).is_file()

    def is_finished(self) -> bool:
        return (self.path / RESULTS).is_file()

    def problems(self, columns: Sequence[str] = tuple(PROBLEM_COLUMNS)) -> dict[str, list[Any]]:
        """Columns of problems.parquet, as they stand there."""
        return read_table([self.path / PROBLEMS], {name: PROBLEM_COLUMNS[name] for name in columns})

    def samples(self, set_name: str, columns: Sequence[str] = tuple(SAMPLE_COLUMNS)) -> dict[str, list[Any]]:
        """Columns of a set's answers, of those parts that are there: problems in their order, samples from 0 on."""
        return read_table(self.parts(set_name), {name: SAMPLE_COLUMNS[name] for name in columns})

    def answers(self, set_name: str) -> list[Answers]:
        """A set's problems with what their answers earned, without texts and tokens."""
        wanted = ("uid", "domain", "task", "reward", "response_tokens", "outcome", "finish_reason")
        return list(_answers(self.samples(set_name, wanted)))


def read_document(path: Path, kind: type[Document], advice: str) -> Document:
    """A JSON document of a known kind.

    Raises:
        DataError: it isn't there, or isn't one.
    """
    try:
        return kind.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise DataError(f"{path}: there is no such file; {advice}") from error
    except (OSError, ValidationError) as error:
        raise DataError(f"{path} can't be read as {kind.__name__.lower()}: {error}") from error


def write_document(path: Path, document: BaseModel) -> None:
    """
    Raises:
        OSError: the system refuses.
    """
    with kept_whole(path) as file:
        file.write((document.model_dump_json(indent=1) + "\n").encode())


def _answers(columns: Mapping[str, list[Any]]) -> Iterator[Answers]:
    uids = columns["uid"]
    starts = [row for row in range(len(uids)) if row == 0 or uids[row] != uids[row - 1]]
    for start, end in zip(starts, [*starts[1:], len(uids)], strict=True):
        yield Answers(
            uid=uids[start],
            domain=columns["domain"][start],
            task=columns["task"][start],
            rewards=np.array(columns["reward"][start:end], dtype=np.float64),
            response_tokens=np.array(columns["response_tokens"][start:end], dtype=np.int64),
            outcomes=tuple(columns["outcome"][start:end]),
            finish_reasons=tuple(columns["finish_reason"][start:end]),
        )


def _problem_row(set_name: str, prompt: Prompt) -> dict[str, Any]:
    return {
        "set": set_name,
        "uid": prompt.uid,
        "domain": prompt.domain,
        "task": prompt.task,
        "source": prompt.source,
        "prompt_tokens": len(prompt.token_ids),
        "messages": _json(list(map(dict, prompt.messages))),
        "verifier": prompt.verifier,
        "reference": _json(dict(prompt.reference)),
        "metadata": _json(dict(prompt.metadata)),
    }


def _sample_rows(set_name: str, group: Group) -> Iterator[dict[str, Any]]:
    prompt = group.prompt
    for sample, (completion, verdict) in enumerate(zip(group.completions, group.verdicts, strict=True)):
        yield {
            "set": set_name,
            "uid": prompt.uid,
            "domain": prompt.domain,
            "task": prompt.task,
            "sample": sample,
            "reward": verdict.reward,
            "outcome": verdict.outcome,
            "reason": _utf8(verdict.reason),
            "finish_reason": completion.finish_reason,
            "response_tokens": completion.length,
            "text": _utf8(completion.text),
            "tokens": completion.token_ids,
        }


def _utf8(text: str) -> str:
    """A lone surrogate, which UTF-8 doesn't have, becomes the escape that stands for it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _columns(rows: Sequence[Mapping[str, Any]], names: Iterable[str]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in names}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=True)  # what isn't UTF-8 is escaped
