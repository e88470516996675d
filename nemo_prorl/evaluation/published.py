"""The numbers that ProRL published, as data: the paper's tables (arXiv 2505.24864) and the model card's.

Numbers are per cent, as printed. The rows of v2 are the model card's, of its revision `main` since July 2025; all
others stand in both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nemo_prorl.data.sources.reasoning_gym_tasks import TRAINING_TASKS
from nemo_prorl.errors import ConfigError

BASE = "DeepSeek-R1-Distill-Qwen-1.5B"
BASE_7B = "DeepSeek-R1-Distill-Qwen-7B"
DEEPSCALER, DEEPCODER = "DeepScaleR-1.5B", "DeepCoder-1.5B"
PRORL = "Nemotron-Research-Reasoning-Qwen-1.5B"
PRORL_V2 = "Nemotron-Research-Reasoning-Qwen-1.5B-v2"  # of the model card, not of the paper
AVERAGE = "Avg"


@dataclass(frozen=True)
class Place:
    """Where a column's problems are among our evaluation sets: a whole set, or some tasks of it, each counting the
    same."""

    set: str
    tasks: tuple[str, ...] = ()


@dataclass(frozen=True)
class PublishedTable:
    """A table: rows by model, each with a number a column; None: not published. `columns`: name -> place; None: the
    mean of the other columns."""

    title: str
    source: str
    columns: Mapping[str, Place | None]
    rows: Mapping[str, tuple[float | None, ...]]

    def of(self, model: str) -> dict[str, float]:
        """A model's numbers by column; those that aren't published are left out."""
        known = zip(self.columns, self.rows[model], strict=True)
        return {name: value for name, value in known if value is not None}


ALL_TASKS = Place("reasoning_gym", tuple(task for tasks in TRAINING_TASKS.values() for task in tasks))
MATH = PublishedTable(
    title="Mathematics, pass@1",
    source="ProRL, Table 1",
    columns={
        "AIME24": Place("aime_2024"),
        "AIME25": Place("aime_2025"),
        "AMC": Place("amc"),
        "Math": Place("math_500"),
        "Minerva": Place("minerva"),
        "Olympiad": Place("olympiad_bench"),
        AVERAGE: None,
    },
    rows={
        BASE: (28.54, 22.71, 62.58, 82.90, 26.38, 43.58, 44.45),
        DEEPSCALER: (40.21, 31.46, 73.04, 89.36, 41.57, 51.63, 54.54),
        BASE_7B: (53.54, 40.83, 82.83, 93.68, 50.60, 57.66, 63.19),
        PRORL: (48.13, 33.33, 79.29, 91.89, 47.98, 60.22, 60.14),
        PRORL_V2: (49.58, 36.04, 82.53, 92.49, 49.03, 60.44, 61.69),
    },
)
CODE = PublishedTable(
    title="Code, pass@1",
    source="ProRL, Table 2",
    columns={
        "apps": Place("apps"),
        "cc": Place("codecontests"),
        "cf": Place("codeforces"),
        "taco": Place("taco"),
        "human": Place("humaneval_plus"),
        "LCB": Place("livecodebench"),
        AVERAGE: None,
    },
    rows={
        BASE: (20.95, 16.79, 14.13, 8.03, 61.77, 16.80, 23.08),
        DEEPCODER: (30.37, 23.76, 21.70, 13.76, 73.40, 22.76, 30.96),
        BASE_7B: (42.08, 32.76, 33.08, 19.08, 83.32, 38.04, 41.39),
        PRORL: (41.99, 31.80, 34.50, 20.81, 72.05, 23.81, 37.49),
        PRORL_V2: (46.39, 35.59, 40.75, 22.89, 72.89, 27.69, 41.03),
    },
)
OTHERS = PublishedTable(
    title="STEM (pass@1), instructions and logic puzzles (mean reward), and puzzles never trained on",
    source="ProRL, Table 3",
    columns={
        "GPQA": Place("gpqa_diamond"),
        "IFEval": Place("ifeval"),
        "Reasoning": ALL_TASKS,
        "acre": Place("reasoning_gym_ood", ("acre",)),
        "boxnet": Place("reasoning_gym_ood", ("boxnet",)),
        "game": Place("reasoning_gym_ood", ("game_of_life_halting",)),
    },
    rows={
        BASE: (15.86, 44.05, 4.24, 5.99, 0.00, 3.49),
        BASE_7B: (35.44, 58.01, 28.55, 20.21, 1.71, 12.94),
        PRORL: (41.78, 66.02, 59.06, 58.57, 7.91, 52.29),
        PRORL_V2: (41.32, 70.85, 62.49, None, None, None),
    },
)
REASONING_GYM = PublishedTable(
    title="Reasoning Gym by category, mean reward",
    source="ProRL, Table 5",
    columns={**{name: Place("reasoning_gym", tasks) for name, tasks in TRAINING_TASKS.items()}, AVERAGE: ALL_TASKS},
    rows={
        BASE: (0.73, 3.56, 1.53, 5.36, 1.22, 6.47, 2.34, 1.05, 6.64, 1.32, 10.90, 4.24),
        BASE_7B: (45.80, 21.75, 3.42, 55.43, 7.84, 30.46, 5.15, 17.38, 33.29, 29.31, 34.96, 28.55),
        PRORL: (97.21, 53.90, 2.52, 82.81, 29.84, 40.16, 26.38, 89.84, 66.49, 73.50, 82.94, 59.06),
    },
)
TABLES = (MATH, CODE, OTHERS, REASONING_GYM)


@dataclass(frozen=True)
class TrainingSource:
    """A row of Table 4."""

    domain: str
    rewards: str
    problems: int
    source: str


TRAINING_DATA = (
    TrainingSource("math", "binary", 40_000, "DeepScaleR Dataset"),
    TrainingSource("code", "continuous", 24_000, "Eurus-2-RL Dataset"),
    TrainingSource("stem", "binary", 25_000, "SCP-116K Dataset"),
    TrainingSource("logic", "continuous", 37_000, "Reasoning Gym"),
    TrainingSource("instruction", "continuous", 10_000, "Llama-Nemotron"),
)

# What the text says of the final model over the base model, in points, where it names the numbers: section 3.4.
STATED_GAINS: Mapping[tuple[str, str], float] = {
    (MATH.source, AVERAGE): 15.7,
    (CODE.source, AVERAGE): 14.4,
    (OTHERS.source, "GPQA"): 25.9,
    (OTHERS.source, "IFEval"): 22.0,
    (OTHERS.source, "Reasoning"): 54.8,
}
# What the introduction says of the same; its tables don't bear out all of it.
STATED_IN_INTRODUCTION = {"math": 14.7, "code": 13.9, "logic": 54.8, "stem": 25.1, "instruction": 18.1}


def published_models() -> tuple[str, ...]:
    """Every model with a row in some table."""
    return tuple(dict.fromkeys(model for table in TABLES for model in table.rows))


def check_published(names: Sequence[str], setting: str) -> None:
    """
    Raises:
        ConfigError: a name isn't a published model's.
    """
    unknown = [name for name in names if name not in published_models()]
    if unknown:
        raise ConfigError(
            f"{setting} names {', '.join(unknown)}, of which ProRL published nothing; it did of "
            f"{', '.join(published_models())}"
        )
