"""What an analysis says in JSON: how the boundary of reasoning moved from a base model to a trained one (section 4).

An analysis is a folder with analysis.json, and the same in words in analysis.md. Numbers are shares of 1, not per cent.
A benchmark is a set of one task, or one task of a set of several, which is then called "set/task".
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field

from nemo_prorl.config.closed import Closed
from nemo_prorl.evaluation.folder import read_document, write_document
from nemo_prorl.evaluation.records import Measure, ModelRecord

ANALYSIS, IN_WORDS = "analysis.json", "analysis.md"

Role = Literal["base", "middle", "final"]
Kind = Literal["diminish", "plateau", "sustained", "gain"]


class Curve(Closed):
    """pass@k over k, of one model on one benchmark: five tuples of one length.

    lows, highs   95 % band, by bootstrap over problems
    bounds        Eq. 5, from the same answers; null at k = 1, where there is none
    """

    ks: tuple[int, ...]
    values: tuple[float, ...]
    lows: tuple[float, ...]
    highs: tuple[float, ...]
    bounds: tuple[float | None, ...]


class Regime(Closed):
    """How the boundary, pass@k at this `k`, changed over training (section 4.2); docs/evaluation.md states the rule.

    kind         diminish, plateau or sustained; without a middle model: diminish or gain
    shares       of bootstrap resamples of the problems that get each kind: how sure it is
    gain         final - base, paired by problem
    late_gain    final - middle; null without a middle model
    pass_1_gain  final - base, of pass@1
    """

    k: int
    kind: Kind
    shares: Mapping[str, float]
    gain: Measure
    late_gain: Measure | None
    pass_1_gain: Measure

    @property
    def confidence(self) -> float:
        """The share of resamples that agree."""
        return self.shares[self.kind]


class Change(Closed):
    """A problem that only one of base and final solves at all.

    p_value        one-sided Fisher's exact test that both solve it equally often
    adjusted       the same after Holm's correction over the benchmark's problems
    hidden_up_to   how often the model without a right answer might still solve it: 95 % upper limit, 1 - 0.05^(1/n)
    """

    uid: str
    task: str
    base_solved: int
    base_samples: int
    final_solved: int
    final_samples: int
    p_value: float
    adjusted: float
    hidden_up_to: float


class Changes(Closed):
    """Problems newly solved (base 0 of n, final more) and newly lost. `sign_p_value`: two-sided exact sign test that
    one is as likely as the other."""

    newly_solved: tuple[Change, ...]
    newly_lost: tuple[Change, ...]
    sign_p_value: float


class Distribution(Closed):
    """pass@1 over problems (Figure 7): counts in equal bins from 0 to 1, the last one with 1; both by role.

    `shift_p_value`: two-sided sign-flip permutation test that the mean of final - base is 0, paired by problem.
    """

    edges: tuple[float, ...]
    counts: Mapping[Role, tuple[int, ...]]
    means: Mapping[Role, float]
    variances: Mapping[Role, float]
    shift_p_value: float


class Creativity(Closed):
    """How little of a model's answers is found word for word in a corpus; see `analysis.creativity`.

    index         mean of L-uniqueness over `lengths`: 0, all is found; 1, nothing is
    uniqueness    share of tokens in no span of at least L tokens that the corpus has, for each L of `lengths`
    """

    index: Measure
    lengths: tuple[int, ...]
    uniqueness: tuple[float, ...]
    responses: int


class BenchmarkAnalysis(Closed):
    """One benchmark. `samples`: answers to each problem, by role. `is_unseen`: a task that the paper held back."""

    title: str
    domain: str
    set: str
    task: str
    problems: int
    is_unseen: bool
    samples: Mapping[Role, int]
    curves: Mapping[Role, Curve]
    regime: Regime
    distribution: Distribution
    changes: Changes
    creativity: Mapping[Role, Creativity] = {}


class Point(Closed):
    """A benchmark in Figure 3: `base` and `gain` are of pass@k."""

    benchmark: str
    domain: str
    base: float
    gain: float
    creativity: float | None = Field(None, description="of the base model's answers")


class Correlation(Closed):
    """Between two numbers of each benchmark. p-values are two-sided, by permutation; null: under 3 points, or no
    spread."""

    points: int
    pearson: float | None
    pearson_p_value: float | None
    spearman: float | None
    spearman_p_value: float | None


class Competence(Closed):
    """The weaker the start, the stronger the gain (section 4.1, Figure 3).

    `base_and_gain` is biased towards -1, for the base's noise is in both with opposite signs; `halves` is free of that:
    base from one half of its answers, gain from the other.
    """

    k: int
    points: tuple[Point, ...]
    base_and_gain: Correlation
    halves: Correlation
    creativity_and_gain: Correlation | None = None


class Sweep(Closed):
    """One task at several levels of difficulty (Figure 6): tasks called <name>_<level>. Measures by role, by level."""

    task: str
    set: str
    levels: tuple[int, ...]
    k: int
    pass_1: Mapping[Role, tuple[Measure, ...]]
    pass_k: Mapping[Role, tuple[Measure, ...]]


class Analysis(Closed):
    """analysis.json. `evaluations`: the folders that it was made of."""

    format: Literal[1] = 1
    models: Mapping[Role, ModelRecord]
    evaluations: Mapping[Role, str]
    k: int = Field(description="of pass@k, the boundary")
    benchmarks: Mapping[str, BenchmarkAnalysis]
    competence: Competence
    sweeps: tuple[Sweep, ...] = ()

    @classmethod
    def read(cls, folder: str | Path) -> Analysis:
        """
        Raises:
            DataError: the folder has none.
        """
        return read_document(Path(folder) / ANALYSIS, cls, "run `prorl analyze` first")

    def write(self, folder: str | Path) -> None:
        """
        Raises:
            OSError: the system refuses.
        """
        write_document(Path(folder) / ANALYSIS, self)
