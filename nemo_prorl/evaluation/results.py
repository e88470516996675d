"""results.json of an evaluation and its tables, from its stored answers."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_prorl.data.kept import kept_whole
from nemo_prorl.evaluation.folder import TABLES_MARKDOWN, TABLES_TEXT, EvaluationFolder
from nemo_prorl.evaluation.records import Results
from nemo_prorl.evaluation.scoring import SetNumbers
from nemo_prorl.evaluation.tables import as_markdown, as_text, paper_tables


def results_of(folder: EvaluationFolder, *, ks: Sequence[int] | None = None, beside: Sequence[str] = ()) -> Results:
    """`ks` of pass@k; None: powers of two up to each set's samples. `beside`: models whose published numbers are shown.

    Raises:
        DataError: answers are missing.
    """
    manifest = folder.manifest()
    sets = {name: SetNumbers.read(folder, name, asked, ks) for name, asked in manifest.sets.items()}
    return Results(
        model=manifest.model,
        sets={name: numbers.record() for name, numbers in sets.items()},
        tables=tuple(paper_tables(sets, beside)),
    )


def write_results(folder: EvaluationFolder, *, ks: Sequence[int] | None = None, beside: Sequence[str] = ()) -> Results:
    """Write results.json and the tables, results.json last; see `results_of`."""
    results = results_of(folder, ks=ks, beside=beside)
    for name, text in ((TABLES_MARKDOWN, as_markdown(results)), (TABLES_TEXT, as_text(results))):
        with kept_whole(folder.path / name) as file:
            file.write(text.encode())
    folder.write_results(results)
    return results
