"""What came of a validation: tasks, sets, domains and all of them together, as numbers to log and one to steer by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from nemo_prorl.data.trajectory import Group
from nemo_prorl.errors import ConfigError
from nemo_prorl.evaluation.estimate import OVERALL, SCORE, Scores, pass_name
from nemo_prorl.evaluation.validation_set import TaskScore


@dataclass(frozen=True)
class BestBy:
    """What the best checkpoint is chosen by: any metric of a validation, the larger or the smaller the better."""

    metric: str
    smaller_is_better: bool = False

    def check(self, names: Sequence[str]) -> None:
        """
        Raises:
            ConfigError: no validation of this run would have the metric.
        """
        if self.metric not in names:
            known = ", ".join(name for name in names if name.endswith((f"/{SCORE}", f"/{pass_name(1)}")))
            raise ConfigError(
                f"validation.best_metric={self.metric!r} is no metric of this run's validation; it has {known}, and "
                "others that docs/metrics.md lists"
            )

    def of(self, metrics: Mapping[str, float]) -> float | None:
        if self.metric not in metrics:
            return None
        return -metrics[self.metric] if self.smaller_is_better else metrics[self.metric]


@dataclass(frozen=True)
class ValidationResult:
    """Every set's tasks, in order; those of a set that wasn't run this time stand as they were when it last was.

    So the overall score is always over the same sets: scores of different validations can be compared, and a rule that
    resets on a plateau or a drop is not misled by which sets were run. A set that was carried over is told by its
    steps_old, and neither it nor its tasks are reported as if they were new.

    A set's scores are the mean over its tasks, whatever number of problems each has; the overall ones, and those of a
    domain, the mean over sets by `weights`. `examples`: a few judged groups of each set.
    """

    step: int
    cells: tuple[TaskScore, ...]
    weights: Mapping[str, float]
    best_by: BestBy = BestBy(f"validation/{OVERALL}/{SCORE}")
    notes: Mapping[str, float] = field(default_factory=dict, compare=False)
    examples: Mapping[str, Sequence[Group]] = field(default_factory=dict, compare=False)

    @property
    def score(self) -> float:
        """What the trainer steers by."""
        return self.overall[SCORE].value

    @property
    def best(self) -> float | None:
        """What the best checkpoint is chosen by, the larger the better; None: it wasn't measured this time."""
        return self.best_by.of(self.metrics)

    @cached_property
    def overall(self) -> Scores:
        return self._over(self.cells)

    @cached_property
    def sets(self) -> dict[str, Scores]:
        """Those that were run."""
        return self._by(lambda cell: cell.set_name, only_fresh=True)

    @cached_property
    def tasks(self) -> dict[str, Scores]:
        """Those of the sets that were run; one that two sets have is the mean of both, by the sets' weights."""
        return self._by(lambda cell: cell.task, only_fresh=True)

    @cached_property
    def domains(self) -> dict[str, Scores]:
        return self._by(lambda cell: cell.domain, only_fresh=False)

    @cached_property
    def metrics(self) -> dict[str, float]:
        merged = self.overall.metrics(f"validation/{OVERALL}")
        for place, scores in (("sets/", self.sets), ("domains/", self.domains), ("", self.tasks)):
            for name, found in scores.items():
                merged |= found.metrics(f"validation/{place}{name}")
        for cell in self.cells:
            if cell.step != self.step:
                merged[f"validation/sets/{cell.set_name}/steps_old"] = self.step - cell.step
        return {**merged, **self.notes}

    @property
    def summary(self) -> str:
        """One line for the reader: all, then each set, or each task of the only one."""
        parts = self.sets if len(self.weights) > 1 else self.tasks
        carried = sorted({cell.set_name for cell in self.cells} - set(self.sets))
        told = [f"{name}: {scores}" for name, scores in parts.items()] + [f"{name}: not run" for name in carried]
        return f"{self.overall} ({'; '.join(told)})"

    def _by(self, key: Callable[[TaskScore], str], *, only_fresh: bool) -> dict[str, Scores]:
        cells = [cell for cell in self.cells if not only_fresh or cell.step == self.step]
        names = sorted({key(cell) for cell in cells})
        return {name: self._over([cell for cell in cells if key(cell) == name]) for name in names}

    def _over(self, cells: Sequence[TaskScore]) -> Scores:
        sizes = {name: sum(cell.set_name == name for cell in self.cells) for name in self.weights}
        return Scores.weighted([(self.weights[cell.set_name] / sizes[cell.set_name], cell.scores) for cell in cells])
