"""The creativity index of evaluated models, by benchmark."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from nemo_prorl.analysis.boundary import Benchmark
from nemo_prorl.analysis.creativity import Corpus, creativity
from nemo_prorl.analysis.records import Creativity, Role
from nemo_prorl.evaluation.folder import EvaluationFolder


def creativities(
    folders: Mapping[Role, EvaluationFolder],
    benchmarks: Mapping[str, Benchmark],
    corpus: Corpus,
    *,
    problems: int,
    told: Callable[[str], None],
) -> dict[Role, dict[str, Creativity]]:
    """By role and benchmark, of the first answer to each of the first so many `problems`. `told` hears of each that is
    done."""
    names = {(one.set, one.task): name for name, one in benchmarks.items()}
    found: dict[Role, dict[str, Creativity]] = {}
    for role, folder in folders.items():
        found[role] = {}
        for set_name in dict.fromkeys(set_name for set_name, _ in names):
            for task, answers in _first_answers(folder, set_name, problems).items():
                name = names[set_name, task]
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
