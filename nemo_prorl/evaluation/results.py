"""results.json of an evaluation, from its stored answers."""

from __future__ import annotations

from collections.abc import Sequence

from nemo_prorl.evaluation.folder import EvaluationFolder
from nemo_prorl.evaluation.records import Results
from nemo_prorl.evaluation.scoring import SetNumbers


def results_of(folder: EvaluationFolder, *, ks: Sequence[int] | None = None) -> Results:
    """`ks` of pass@k; None: powers of two up to each set's samples.

    Raises:
        DataError: answers are missing.
    """
    manifest = folder.manifest()
    sets = {name: SetNumbers.read(folder, name, asked, ks) for name, asked in manifest.sets.items()}
    return Results(model=manifest.model, sets={name: numbers.record() for name, numbers in sets.items()}, tables=())


def write_results(folder: EvaluationFolder, *, ks: Sequence[int] | None = None) -> Results:
    """Write results.json; see `results_of`."""
    results = results_of(folder, ks=ks)
    folder.write_results(results)
    return results
