"""How the boundary of reasoning moved from a base model to a trained one, benchmark by benchmark (ProRL, section 4)."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nemo_prorl.analysis.exact_tests import Counts, fisher_more, hidden_up_to, holm, mean_shift, sign_test
from nemo_prorl.analysis.records import (
    BenchmarkAnalysis,
    Change,
    Changes,
    Curve,
    Distribution,
    Regime,
    Role,
)
from nemo_prorl.analysis.regime import classify
from nemo_prorl.data.sources.reasoning_gym_tasks import OUT_OF_DISTRIBUTION_TASKS
from nemo_prorl.errors import DataError
from nemo_prorl.evaluation.folder import Answers, EvaluationFolder
from nemo_prorl.evaluation.pass_at_k import estimated_bound, pass_at_k_by_correct, powers_of_two
from nemo_prorl.evaluation.resampling import resampled
from nemo_prorl.evaluation.scoring import check_whole

log = logging.getLogger(__name__)

BINS = 10  # of pass@1, from 0 to 1


class Benchmark(NamedTuple):
    """A benchmark as models answered it: the same problems for all of them, in one order."""

    name: str
    title: str
    set: str
    task: str
    domain: str
    uids: tuple[str, ...]
    counts: Mapping[Role, Counts]

    @property
    def most_k(self) -> int:
        return min(counts.samples for counts in self.counts.values())

    def solved_share(self, role: Role) -> NDArray[np.float64]:
        """Each problem's pass@1, [P]."""
        return self.counts[role].solved_P / self.counts[role].samples

    def pass_at(self, role: Role, k: int) -> NDArray[np.float64]:
        """Each problem's pass@k, [P]."""
        counts = self.counts[role]
        return pass_at_k_by_correct(counts.samples, k)[counts.solved_P]


def benchmarks_of(folders: Mapping[Role, EvaluationFolder]) -> dict[str, Benchmark]:
    """The benchmarks that all of the models were evaluated on.

    Raises:
        DataError: there are none, one of them isn't finished, or the models weren't asked the same questions.
    """
    manifests = {role: folder.manifest() for role, folder in folders.items()}
    asked = [manifest.sampling.model_dump(exclude={"seed"}) for manifest in manifests.values()]
    if differing := [name for name in asked[0] if len({one[name] for one in asked}) > 1]:
        log.warning(
            "the models were sampled differently (%s), so what differs may not be the models",
            "; ".join(f"{name}: {', '.join(str(one[name]) for one in asked)}" for name in differing),
        )
    names = [name for name in manifests["base"].sets if all(name in manifest.sets for manifest in manifests.values())]
    left_out = sorted({name for manifest in manifests.values() for name in manifest.sets} - set(names))
    if not names:
        raise DataError(
            f"no set was evaluated for all of {', '.join(str(folder.path) for folder in folders.values())}; they have "
            f"{', '.join(left_out)}. Evaluate all models on the same sets"
        )
    if left_out:
        log.warning("not every model was evaluated on %s, which are left out", ", ".join(left_out))
    return {one.name: one for name in names for one in _benchmarks_of_set(name, folders)}


def _benchmarks_of_set(name: str, folders: Mapping[Role, EvaluationFolder]) -> Iterator[Benchmark]:
    """A set of one task is one benchmark; of several, each of them is."""
    asked = {role: folder.manifest().sets[name] for role, folder in folders.items()}
    if len({one.identity for one in asked.values()}) > 1:
        raise DataError(
            f"set {name!r} doesn't have the same problems in {', '.join(str(f.path) for f in folders.values())}, so "
            "their answers can't be compared; evaluate all models with the same settings of the set"
        )
    if len({one.solved_reward for one in asked.values()}) > 1:
        raise DataError(f"set {name!r}: solved_reward differs between evaluations; they must count the same as solved")
    by_role: dict[Role, list[Answers]] = {}
    for role, folder in folders.items():
        by_role[role] = sorted(folder.answers(name), key=lambda answer: (answer.task, answer.uid))
        check_whole(folder, name, asked[role], by_role[role])
    tasks = {task: [*found] for task, found in groupby(by_role["base"], key=lambda answer: answer.task)}
    start = 0
    for task, found in tasks.items():
        counts: dict[Role, Counts] = {
            role: Counts(
                np.array([each.solved(asked[role].solved_reward) for each in answers[start : start + len(found)]]),
                asked[role].samples_per_prompt,
            )
            for role, answers in by_role.items()
        }
        start += len(found)
        yield Benchmark(
            name=name if len(tasks) == 1 else f"{name}/{task}",
            title=asked["base"].title if len(tasks) == 1 else task,
            set=name,
            task=task,
            domain=found[0].domain,
            uids=tuple(each.uid for each in found),
            counts=counts,
        )


def analysed(one: Benchmark, boundary_k: int) -> BenchmarkAnalysis:
    """All that section 4 says of a benchmark. `boundary_k`: lowered to the largest power of two among its samples."""
    k = boundary_of(one, boundary_k)
    return BenchmarkAnalysis(
        title=one.title,
        domain=one.domain,
        set=one.set,
        task=one.task,
        problems=len(one.uids),
        is_unseen=one.task in OUT_OF_DISTRIBUTION_TASKS,
        samples={role: counts.samples for role, counts in one.counts.items()},
        curves={role: _curve(one, role) for role in one.counts},
        regime=_regime(one, k),
        distribution=_distribution(one),
        changes=_changes(one),
    )


def boundary_of(one: Benchmark, boundary_k: int) -> int:
    return min(boundary_k, powers_of_two(one.most_k)[-1])


def _curve(one: Benchmark, role: Role) -> Curve:
    samples = one.counts[role].samples
    ks = powers_of_two(samples)
    bands = [found.measure() for found in resampled(np.stack([one.pass_at(role, k) for k in ks]), one.task)]
    share_P = one.solved_share(role)
    return Curve(
        ks=ks,
        values=tuple(band.value for band in bands),
        lows=tuple(band.value if band.low is None else band.low for band in bands),
        highs=tuple(band.value if band.high is None else band.high for band in bands),
        bounds=tuple(estimated_bound(share_P, samples, k) if k > 1 else None for k in ks),
    )


def _regime(one: Benchmark, k: int) -> Regime:
    middle = one.counts.get("middle")
    verdict = classify(one.counts["base"], middle, one.counts["final"], k, one.task)
    rises = [one.pass_at("final", k) - one.pass_at("base", k), one.solved_share("final") - one.solved_share("base")]
    if middle is not None:
        rises.append(one.pass_at("final", k) - one.pass_at("middle", k))
    gain, pass_1_gain, *late = (found.measure() for found in resampled(np.stack(rises), one.task))
    return Regime(
        k=k,
        kind=verdict.kind,
        shares=verdict.shares,
        gain=gain,
        late_gain=late[0] if late else None,
        pass_1_gain=pass_1_gain,
    )


def _distribution(one: Benchmark) -> Distribution:
    edges = np.linspace(0, 1, BINS + 1)
    # Of whole numbers: 3 of 10 is 0.3, and below the edge that is 0.30000000000000004.
    bins = {role: np.minimum(c.solved_P * BINS // c.samples, BINS - 1) for role, c in one.counts.items()}
    shares: dict[Role, NDArray[np.float64]] = {role: one.solved_share(role) for role in one.counts}
    return Distribution(
        edges=tuple(float(edge) for edge in edges),
        counts={role: tuple(int(n) for n in np.bincount(bin_P, minlength=BINS)) for role, bin_P in bins.items()},
        means={role: float(share_P.mean()) for role, share_P in shares.items()},
        variances={role: float(share_P.var()) for role, share_P in shares.items()},
        shift_p_value=mean_shift(shares["final"] - shares["base"]),
    )


def _changes(one: Benchmark) -> Changes:
    base, final = one.counts["base"], one.counts["final"]
    solved = np.flatnonzero((base.solved_P == 0) & (final.solved_P > 0)).tolist()
    lost = np.flatnonzero((base.solved_P > 0) & (final.solved_P == 0)).tolist()
    return Changes(
        newly_solved=_change_list(one, solved, base, final),
        newly_lost=_change_list(one, lost, final, base),
        sign_p_value=sign_test(len(solved), len(lost)),
    )


def _change_list(one: Benchmark, places: Sequence[int], never: Counts, ever: Counts) -> tuple[Change, ...]:
    """`never` solved them, `ever` did; the surest first."""
    base, final = one.counts["base"], one.counts["final"]
    p_values = [fisher_more(int(ever.solved_P[place]), ever.samples, 0, never.samples) for place in places]
    adjusted = holm(p_values, tests=len(one.uids))
    found = [
        Change(
            uid=one.uids[place],
            task=one.task,
            base_solved=int(base.solved_P[place]),
            base_samples=base.samples,
            final_solved=int(final.solved_P[place]),
            final_samples=final.samples,
            p_value=p_value,
            adjusted=corrected,
            hidden_up_to=hidden_up_to(never.samples),
        )
        for place, p_value, corrected in zip(places, p_values, adjusted, strict=True)
    ]
    return tuple(sorted(found, key=lambda change: (change.p_value, change.uid)))
