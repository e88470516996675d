"""The creativity index of evaluated models, by benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nemo_prorl.analysis.boundary import benchmark_name
from nemo_prorl.analysis.creativity import Corpus, creativity
from nemo_prorl.analysis.records import Creativity, Role
from nemo_prorl.evaluation.folder import EvaluationFolder


def creativities(
    folders: Mapping[Role, EvaluationFolder],
    corpus: Corpus,
    *,
    problems: int,
    told: Callable[[str], None] = lambda benchmark: None,
) -> dict[Role, dict[str, Creativity]]:
    """By role and benchmark, of the first answer to each of the first so many `problems`. `told` hears of each that is
    done."""
    found: dict[Role, dict[str, Creativity]] = {}
    for role, folder in folders.items():
        found[role] = {}
        for set_name in folder.manifest().sets:
            texts = _first_answers(folder, set_name, problems)
            for task, answers in texts.items():
                name = benchmark_name(set_name, task, len(texts))
                found[role][name] = creativity([[answer] for answer in answers], corpus, task)
                told(f"creativity of {role} on {name}")
    return found


def _first_answers(folder: EvaluationFolder, set_name: str, problems: int) -> dict[str, list[str]]:
    """Texts by task."""
    samples = folder.samples(set_name, ("uid", "task", "sample", "text"))
    texts: dict[str, list[str]] = {}
    for task, sample, text in zip(samples["task"], samples["sample"], samples["text"], strict=True):
        known = texts.setdefault(task, [])
        if sample == 0 and len(known) < problems:
            known.append(text)
    return texts
