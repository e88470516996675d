"""An analysis.json made by hand: three benchmarks, one of each regime."""

from nemo_prorl.analysis.records import (
    Analysis,
    BenchmarkAnalysis,
    Change,
    Changes,
    Competence,
    Correlation,
    Curve,
    Distribution,
    Point,
    Regime,
    Sweep,
)
from nemo_prorl.evaluation.records import Measure, ModelRecord

KS = (1, 2, 4, 8, 16)
ROLES = ("base", "middle", "final")
LEVELS = {
    "aime_2024": {"base": (0.2, 0.31, 0.45, 0.6, 0.72), "final": (0.35, 0.43, 0.5, 0.56, 0.61)},
    "gpqa_diamond": {"base": (0.15, 0.27, 0.42, 0.57, 0.7), "final": (0.4, 0.52, 0.62, 0.68, 0.73)},
    "reasoning_gym/boxnet": {"base": (0.0, 0.0, 0.0, 0.0, 0.0), "final": (0.3, 0.48, 0.7, 0.88, 0.97)},
}
KINDS = {"aime_2024": "diminish", "gpqa_diamond": "plateau", "reasoning_gym/boxnet": "sustained"}
DOMAINS = {"aime_2024": "math", "gpqa_diamond": "stem", "reasoning_gym/boxnet": "logic"}


def measure(value: float, error: float | None = 0.03) -> Measure:
    if error is None:
        return Measure(value=value)
    return Measure(value=value, standard_error=error, low=value - 2 * error, high=value + 2 * error)


def example_analysis() -> Analysis:
    models = {
        role: ModelRecord(name=f"the {role} one", path=f"models/{role}", format="hugging-face", identity=role)
        for role in ROLES
    }
    points = tuple(
        Point(
            benchmark=name, domain=DOMAINS[name], base=curves["base"][-1], gain=curves["final"][-1] - curves["base"][-1]
        )
        for name, curves in LEVELS.items()
    )
    known = Correlation(points=3, pearson=-0.98, pearson_p_value=0.04, spearman=-1.0, spearman_p_value=0.33)
    unknown = Correlation(points=3, pearson=None, pearson_p_value=None, spearman=None, spearman_p_value=None)
    sweep = Sweep(
        task="graph_color",
        set="graph_color_by_nodes",
        levels=(10, 15, 20),
        k=16,
        pass_1={role: tuple(measure(0.1 * (3 - n) + 0.1 * r) for n in range(3)) for r, role in enumerate(ROLES)},
        pass_k={role: tuple(measure(0.2 * (3 - n) + 0.1 * r) for n in range(3)) for r, role in enumerate(ROLES)},
    )
    return Analysis(
        models=models,
        evaluations={role: f"evaluations/{role}" for role in ROLES},
        k=16,
        benchmarks={name: benchmark(name) for name in LEVELS},
        competence=Competence(k=16, points=points, base_and_gain=known, halves=unknown),
        sweeps=(sweep,),
    )


def benchmark(name: str) -> BenchmarkAnalysis:
    curves = {role: curve(values) for role, values in LEVELS[name].items()}
    base, final = (LEVELS[name][role] for role in ("base", "final"))
    change = Change(
        uid="one-1", task=name, base_solved=0, base_samples=16, final_solved=9, final_samples=16,
        p_value=0.0003, adjusted=0.004, hidden_up_to=0.171,
    )  # fmt: skip
    kind = KINDS[name]
    return BenchmarkAnalysis(
        title=name,
        domain=DOMAINS[name],
        set=name.partition("/")[0],
        task=name.rpartition("/")[2],
        problems=12,
        is_unseen="boxnet" in name,
        samples=dict.fromkeys(ROLES, 16),
        curves=curves,
        regime=Regime(
            k=16, kind=kind, shares={kind: 0.97, "gain": 0.03}, gain=measure(final[-1] - base[-1]),
            late_gain=measure(0.02), pass_1_gain=measure(final[0] - base[0]),
        ),
        distribution=Distribution(
            edges=tuple(n / 10 for n in range(11)),
            counts={"base": (6, 3, 1, 1, 0, 0, 1, 0, 0, 0), "final": (1, 1, 2, 2, 1, 1, 1, 1, 1, 1)},
            means={"base": base[0], "final": final[0]},
            variances={"base": 0.05, "final": 0.08},
            shift_p_value=0.002,
        ),
        changes=Changes(newly_solved=(change,), newly_lost=(), sign_p_value=0.5),
    )  # fmt: skip


def curve(values: tuple[float, ...]) -> Curve:
    return Curve(
        ks=KS,
        values=values,
        lows=tuple(max(0.0, value - 0.08) for value in values),
        highs=tuple(min(1.0, value + 0.08) for value in values),
        bounds=(None, *(min(1.0, value + 0.2) for value in values[1:])),
    )
