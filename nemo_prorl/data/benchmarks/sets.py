r"""The table of evaluation sets (ProRL, section 4.1 and Appendix E).

Revisions are commits of the hub that others have pinned as well; where none is given the newest is read, and kept.
Which releases the paper measured on it doesn't say, but for GPQA, whose curated copy has no options to choose from: its
questions are answered freely.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from nemo_prorl.data.benchmarks.readers import (
    Reader,
    humaneval_plus,
    ifeval,
    livecodebench,
    olympiad_bench,
    prime_validation,
    short_answer,
)
from nemo_prorl.data.prepare.deepscaler import INSTRUCTION as BOXED
from nemo_prorl.data.prepare.eurus_code import INSTRUCTION as FENCED
from nemo_prorl.data.sources.reasoning_gym_tasks import (
    OUT_OF_DISTRIBUTION_TASKS,
    TRAINING_TASKS,
    graph_color_by_size,
)

TAGGED = "Think step by step and give the final answer within <answer> </answer> tags."


@dataclass(frozen=True)
class PublishedSet:
    """A set on the hub. `problems`: how many it is known to have; None: that depends on the release.

    `instruction` follows every question that doesn't say itself how to answer; `split` and `files` say which files to
    read, see `published.chosen`.
    """

    title: str
    domain: str
    hub: str
    read: Reader
    problems: int | None
    instruction: str | None
    split: str = "test"
    files: str = ""
    revision: str | None = None


@dataclass(frozen=True)
class GeneratedSet:
    """Problems that reasoning-gym makes: so many of each task, under a seed that nothing is trained on."""

    title: str
    tasks: Mapping[str, Mapping[str, Any]]
    domain: str = "logic"
    problems_per_task: int = 100
    seed: int = 1500
    instruction: str | None = TAGGED


def _math(title: str, hub: str, read: Reader, problems: int, **more: Any) -> PublishedSet:
    return PublishedSet(title, "math", hub, read, problems, BOXED, **more)


def _prime(title: str, data_source: str) -> PublishedSet:
    read = prime_validation(data_source)
    return PublishedSet(title, "code", "PRIME-RL/Eurus-2-RL-Data", read, None, FENCED, split="validation")


PUBLISHED: Mapping[str, PublishedSet] = {
    "aime_2024": _math(
        *("AIME 2024", "HuggingFaceH4/aime_2024", short_answer("problem", "answer", "url"), 30),
        split="train",
        revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
    ),
    "aime_2025": _math(
        *("AIME 2025", "math-ai/aime25", short_answer("problem", "answer", "id"), 30),
        revision="563bb8404243c5f09de6ec262f2db674fe5bce9b",
    ),
    "amc": _math(  # AMC 12 of 2022 and 2023
        *("AMC 2022 and 2023", "AI-MO/aimo-validation-amc", short_answer("problem", "answer", "url"), 83),
        split="train",
        revision="69d78a4a2c840e82d69af6bc742bda09005f6316",
    ),
    "math_500": _math(
        *("MATH, 500 of its test problems", "HuggingFaceH4/MATH-500"),
        *(short_answer("problem", "answer", "subject", "level", "unique_id"), 500),
        revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
    ),
    "minerva": _math("Minerva Math", "math-ai/minervamath", short_answer("question", "answer"), 272),
    "olympiad_bench": _math(
        *("OlympiadBench, mathematics in English", "Hothan/OlympiadBench", olympiad_bench, 674),
        files="*OE_TO_maths_en_COMP*",
        revision="91184b52131e7fc9455fef848035173aea8cc01a",
    ),
    "apps": _prime("APPS, as PRIME validates on it", "apps"),
    "codecontests": _prime("CodeContests, as PRIME validates on it", "codecontests"),
    "codeforces": _prime("Codeforces, as PRIME validates on it", "codeforces"),
    "taco": _prime("TACO, as PRIME validates on it", "taco"),
    "humaneval_plus": PublishedSet("HumanEval+", "code", "evalplus/humanevalplus", humaneval_plus, 164, FENCED),
    "livecodebench": PublishedSet(
        *("LiveCodeBench", "code", "livecodebench/code_generation_lite", livecodebench, None, FENCED),
        files="test*.jsonl",
        revision="0fe84c3912ea0c4d4a78037083943e8f0c4dd505",
    ),
    "gpqa_diamond": PublishedSet(
        *("GPQA diamond, without options", "stem", "spawn99/GPQA-diamond-ClaudeR1"),
        *(short_answer("question", "correct_answer", "record_id"), 198, BOXED),
        split="train",
    ),
    "ifeval": PublishedSet(
        *("IFEval", "instruction", "google/IFEval", ifeval, 541, None),
        split="train",
        files="*input_data.jsonl",
        revision="966cd89545d6b6acfd7638bc708b98261ca58e84",
    ),
}

GENERATED: Mapping[str, GeneratedSet] = {
    "reasoning_gym": GeneratedSet(
        "reasoning-gym, 100 of each task trained on", {task: {} for tasks in TRAINING_TASKS.values() for task in tasks}
    ),
    "reasoning_gym_ood": GeneratedSet(
        "reasoning-gym, tasks never trained on",
        # acre makes all items at once, and they depend on how many there are.
        {task: {"size": 200} if task == "acre" else {} for task in OUT_OF_DISTRIBUTION_TASKS},
    ),
    "graph_color": GeneratedSet("graph colouring, as trained on", {"graph_color": {}}),
    "graph_color_by_nodes": GeneratedSet(  # Figure 6
        "graph colouring by number of nodes", graph_color_by_size([10, 12, 15, 17, 20, 22, 25])
    ),
}

EVALUATION_SETS: Mapping[str, PublishedSet | GeneratedSet] = {**PUBLISHED, **GENERATED}
