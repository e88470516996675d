"""From evaluations of a base, perhaps a middle, and a final model to one analysis."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from nemo_prorl.analysis.boundary import analysed, benchmarks_of
from nemo_prorl.analysis.competence import competence, sweeps
from nemo_prorl.analysis.creativities import creativities
from nemo_prorl.analysis.creativity import Corpus
from nemo_prorl.analysis.records import IN_WORDS, Analysis, Role
from nemo_prorl.analysis.summary import in_words
from nemo_prorl.data.kept import kept_whole
from nemo_prorl.evaluation.folder import EvaluationFolder

BOUNDARY_K = 128  # the paper's
RESPONSES = 64  # to so many problems of a benchmark


def analyse(
    folders: Mapping[Role, EvaluationFolder],
    *,
    boundary_k: int = BOUNDARY_K,
    corpus: Corpus | None = None,
    responses: int = RESPONSES,
    told: Callable[[str], None] = lambda benchmark: None,
) -> Analysis:
    """`folders` by role: base and final, and middle between them or not. `told` hears of each benchmark that is done.

    In `corpus`, if there is one, `responses` of each benchmark are looked up, one a problem, for their creativity.

    Raises:
        DataError: the evaluations aren't finished, or not of the same problems; the corpus can't be asked.
    """
    benchmarks = benchmarks_of(folders)  # before anything is looked up, which may take hours
    creativity = {} if corpus is None else creativities(folders, benchmarks, corpus, problems=responses, told=told)
    found = {}
    for name, one in benchmarks.items():
        known = {role: each[name] for role, each in creativity.items()}
        found[name] = analysed(one, boundary_k).model_copy(update={"creativity": known})
        told(name)
    return Analysis(
        models={role: folder.manifest().model for role, folder in folders.items()},
        evaluations={role: str(folder.path) for role, folder in folders.items()},
        k=boundary_k,
        benchmarks=found,
        competence=competence(benchmarks, boundary_k, creativity.get("base")),
        sweeps=sweeps(benchmarks, boundary_k),
    )


def write_analysis(analysis: Analysis, folder: str | Path) -> None:
    """analysis.md, then analysis.json.

    Raises:
        OSError: the system refuses.
    """
    with kept_whole(Path(folder) / IN_WORDS) as file:
        file.write(in_words(analysis).encode())
    analysis.write(folder)
