"""Evaluation folders in small, of models that solve each problem with a known chance: real files, no model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from nemo_prorl.analysis.analyse import analyse, write_analysis
from nemo_prorl.analysis.records import Analysis, Role
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.trajectory import Completion, Group, Verdict
from nemo_prorl.evaluation.folder import EvaluationFolder
from nemo_prorl.evaluation.records import Manifest, ModelRecord, SamplingRecord, SetRecord
from nemo_prorl.evaluation.results import write_results

Chances = Mapping[str, Mapping[str, Sequence[float]]]  # set -> task -> each problem's chance to be solved
DOMAINS = {"aime_2024": "math", "codeforces": "code", "gpqa_diamond": "stem", "ifeval": "instruction"}
PROBLEMS_PER_PART = 8

# Where training goes in the three regimes, for problems of growing difficulty: base, middle, final.
EASY, HARD = np.linspace(0.9, 0.3, 12), np.linspace(0.3, 0.0, 12)
BASE: Chances = {
    "aime_2024": {"aime_2024": HARD},
    "codeforces": {"codeforces": HARD / 4},
    "reasoning_gym": {"graph_color": HARD / 2, "acre": EASY},
    "graph_color_by_nodes": {f"graph_color_{nodes}": HARD * 10 / nodes for nodes in (10, 15, 20)},
}
MIDDLE: Chances = {
    "aime_2024": {"aime_2024": HARD + 0.2},
    "codeforces": {"codeforces": np.where(HARD > 0.12, HARD / 2, 0.0)},
    "reasoning_gym": {"graph_color": HARD + 0.1, "acre": EASY},
    "graph_color_by_nodes": {f"graph_color_{nodes}": HARD * 10 / nodes + 0.2 for nodes in (10, 15, 20)},
}
FINAL: Chances = {
    "aime_2024": {"aime_2024": HARD + 0.25},
    "codeforces": {"codeforces": HARD + 0.3},
    "reasoning_gym": {"graph_color": HARD + 0.5, "acre": np.where(EASY < 0.4, 0.0, 0.95)},
    "graph_color_by_nodes": {f"graph_color_{nodes}": HARD * 10 / nodes + 0.5 for nodes in (10, 15, 20)},
}


def example_evaluation(
    path: str | Path, chances: Chances = BASE, *, name: str = "base", samples: int = 16, seed: int = 0
) -> EvaluationFolder:
    """A finished evaluation of a model that solves each problem with its chance, each answer by itself."""
    folder = EvaluationFolder(path)
    random = np.random.default_rng([seed, len(name), *name.encode()])
    groups = {
        set_name: [
            _group(set_name, task, number, chance, samples, random)
            for task, each in tasks.items()
            for number, chance in enumerate(each)
        ]
        for set_name, tasks in chances.items()
    }
    folder.write_manifest(example_manifest(name, {set_name: len(found) for set_name, found in groups.items()}, samples))
    folder.write_problems({set_name: [group.prompt for group in found] for set_name, found in groups.items()})
    for set_name, found in groups.items():
        for part, start in enumerate(range(0, len(found), PROBLEMS_PER_PART)):
            folder.write_part(set_name, part, found[start : start + PROBLEMS_PER_PART])
    write_results(folder)
    return folder


def example_analysis(path: str | Path, *, samples: int = 16) -> Analysis:
    """Evaluations base, middle and final below `path`, and their analysis in its folder `analysis`."""
    chances: dict[Role, Chances] = {"base": BASE, "middle": MIDDLE, "final": FINAL}
    folders = {
        role: example_evaluation(Path(path) / role, each, name=role, samples=samples) for role, each in chances.items()
    }
    analysis = analyse(folders)
    write_analysis(analysis, Path(path) / "analysis")
    return analysis


def example_manifest(name: str, problems: Mapping[str, int], samples: int) -> Manifest:
    sampling = {"temperature": 0.6, "top_p": 0.95, "top_k": 0, "max_response_tokens": 64, "context_tokens": 128}
    return Manifest(
        model=ModelRecord(name=name, path=f"models/{name}", format="hugging-face", identity=f"identity of {name}"),
        engine="scripted",
        sampling=SamplingRecord(**sampling, seed=0),
        sets={
            set_name: SetRecord(
                title=f"The set {set_name}",
                problems=count,
                samples_per_prompt=samples,
                solved_reward=0.99,
                score="by_domain",
                problems_per_part=PROBLEMS_PER_PART,
                identity=f"questions of {set_name}",
            )
            for set_name, count in problems.items()
        },
        versions={"nemo_prorl": "0"},
    )


def _group(set_name: str, task: str, number: int, chance: float, samples: int, random: np.random.Generator) -> Group:
    domain = DOMAINS.get(set_name, "logic")
    question = ({"role": "user", "content": f"Question {number} of {task}?"},)
    reference = {"answer": str(number)}
    prompt = Prompt(f"{task}-{number}", domain, task, set_name, question, (5, 6, 7), domain, reference)
    right = random.random(samples) < min(max(chance, 0.0), 1.0)
    return Group(
        prompt,
        tuple(_completion(number if one else number + 1, random) for one in right),
        tuple(Verdict(float(one), "compared with the answer") for one in right),
    )


def _completion(answer: int, random: np.random.Generator) -> Completion:
    length = int(random.integers(4, 40))
    text = f"{'Let me think. ' * (length // 8)}The answer is \\boxed{{{answer}}}."
    return Completion(np.arange(length, dtype=np.int32), None, "length" if length > 36 else "stop", text)
