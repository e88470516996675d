"""Evaluations on a run's page: the paper's tables with its numbers beside, scores by set and task, and answers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from nemo_prorl.analysis.samples import Samples
from nemo_prorl.analysis.tables import Table
from nemo_prorl.data.parquet import read_table
from nemo_prorl.evaluation.folder import SAMPLE_COLUMNS, EvaluationFolder
from nemo_prorl.evaluation.published import BASE, PRORL, PRORL_V2, TABLES
from nemo_prorl.evaluation.records import Measure, Results, ScoreRecord
from nemo_prorl.evaluation.records import Table as ResultsTable

ALWAYS_BESIDE = (BASE, PRORL, PRORL_V2)  # what the paper starts from, and what comes of it
ANSWERS_PER_PROBLEM = 4  # that the page shows; all of them are in the evaluation's folder


def evaluation_section(found: Sequence[Results]) -> dict[str, Any]:
    """Of finished evaluations, in the order in which they are to be read: the base model first."""
    tables = [_paper_table(title, found) for title in dict.fromkeys(t.title for one in found for t in one.tables)]
    return {
        "id": "evaluation",
        "title": "Evaluation",
        "short": "Evaluation",
        "lead": ("In the layouts of the paper's tables, with its numbers below ours, in per cent. " if tables else "")
        + "± one standard error, by bootstrap over problems.",
        "tables": [table.as_json() for table in tables],
        "folded": [_by_set(one, is_open=not tables) for one in found],
    }


def _by_set(results: Results, *, is_open: bool) -> dict[str, Any]:
    title = f"By set and task: {results.model.name}"
    return {"title": title, "tables": [_set_table(results).as_json()], "open": is_open}


def evaluation_samples(folder: EvaluationFolder) -> Samples:
    """The first answers to each problem, as a training's samples are told."""
    name = folder.manifest().model.name

    def read() -> Iterator[Mapping[str, Any]]:
        manifest = folder.manifest()
        problems = folder.problems(("set", "uid", "prompt_tokens", "messages"))
        asked = dict(zip(zip(problems["set"], problems["uid"], strict=True), _questions(problems), strict=True))
        for set_name in manifest.sets:
            for part in folder.parts(set_name):
                columns = {column: kind for column, kind in SAMPLE_COLUMNS.items() if column != "tokens"}
                rows = read_table([part], columns)
                for row in range(len(rows["uid"])):
                    record = {column: values[row] for column, values in rows.items()}
                    if record["sample"] < ANSWERS_PER_PROBLEM:
                        prompt, tokens = asked.get((set_name, record["uid"]), ("", 0))
                        yield {
                            **record,
                            "prompt": prompt,
                            "prompt_tokens": tokens,
                            "response": record["text"],
                            "shaped_reward": record["reward"],
                            "from": f"evaluation: {name}, {set_name}",
                            "step": manifest.model.step or 0,
                        }

    return Samples(f"evaluation: {name}", read)


def _questions(problems: Mapping[str, Sequence[Any]]) -> Iterator[tuple[str, int]]:
    for messages, tokens in zip(problems["messages"], problems["prompt_tokens"], strict=True):
        yield "\n".join(str(message.get("content", "")) for message in json.loads(messages)), tokens


def _paper_table(title: str, found: Sequence[Results]) -> Table:
    """A row a model: ours, then published ones: those that the paper compares, and whichever were named."""
    own = [(one.model.name, table) for one in found for table in one.tables if table.title == title]
    names = list(dict.fromkeys(column.name for _, table in own for column in table.columns))
    rows = [[name, *_own_cells(table, names)] for name, table in own]
    published = {
        model: one.of(model) for one in TABLES if one.title == title for model in ALWAYS_BESIDE if model in one.rows
    }
    for table in (table for _, table in own):
        for column in table.columns:
            for model, number in column.published.items():
                published.setdefault(model, {})[column.name] = number
    for model, numbers in published.items():
        rows.append([f"{model} (published)", *(f"{numbers[name]:.2f}" if name in numbers else "" for name in names)])
    sources = ", ".join(dict.fromkeys(table.source for _, table in own))
    note = f"The layout is that of {sources}." if sources else ""
    return Table(title, ["model", *names], rows, note, numbers_from=1)


def _own_cells(table: ResultsTable, names: Sequence[str]) -> list[str]:
    measures = {column.name: column.measure for column in table.columns}
    return [told(measures.get(name), ".2f") or "\N{EN DASH}" for name in names]


def told(measure: Measure | None, form: str = ".3f") -> str:
    """
    >>> told(Measure(value=0.5, standard_error=0.25)), told(Measure(value=0.5)), told(None)
    ('0.500 ± 0.250', '0.500', '')
    """
    if measure is None:
        return ""
    error = "" if measure.standard_error is None else f" ± {measure.standard_error:{form}}"
    return f"{measure.value:{form}}{error}"


def _set_table(results: Results) -> Table:
    """A row a set, and below it one for each of its tasks where there are several."""
    ks = sorted({k for one in results.sets.values() for k in one.pass_at_k})
    shown = [k for k in ks if k in (1, 4, 16, 64, 128, 256)] or ks
    rows = []
    for name, one in results.sets.items():
        rows.append([name, *_score_cells(one, shown)])
        if len(one.tasks) > 1:
            rows += [[f"{name}: {task}", *_score_cells(score, shown)] for task, score in one.tasks.items()]
    heads = ["set", "problems", "score", "reward", *(f"pass@{k}" for k in shown), "tokens", "cut", "not judged"]
    where = f"{results.model.path}" + ("" if results.model.step is None else f", step {results.model.step}")
    return Table(f"Scores of {results.model.name}", heads, rows, where, numbers_from=1)


def _score_cells(score: ScoreRecord, ks: Sequence[int]) -> list[str]:
    return [
        str(score.problems),
        *(told(score.score), told(score.reward)),
        *(told(score.pass_at_k.get(k)) for k in ks),
        *(f"{score.response_tokens.value:,.0f}", f"{score.truncated.value:.3f}", f"{score.unjudged.value:.3f}"),
    ]
