"""Analyses of evaluations whose answers are known, from the folders to what is written."""

import numpy as np
import pytest

from nemo_prorl.analysis.analyse import analyse, write_analysis
from nemo_prorl.analysis.boundary import Benchmark
from nemo_prorl.analysis.competence import competence
from nemo_prorl.analysis.exact_tests import Counts
from nemo_prorl.analysis.local_corpus import LocalCorpus
from nemo_prorl.analysis.records import Analysis
from nemo_prorl.errors import DataError
from nemo_prorl.evaluation.folder import EvaluationFolder
from tests.evaluation.examples import BASE, FINAL, MIDDLE, example_analysis, example_evaluation


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    path = tmp_path_factory.mktemp("analysis")
    example_analysis(path)
    return path


@pytest.fixture(scope="module")
def analysis(place):
    return Analysis.read(place / "analysis")


def folders_at(place, *roles):
    return {role: EvaluationFolder(place / role) for role in roles}


def test_an_analysis_comes_back_as_it_was_written(analysis, tmp_path):
    write_analysis(analysis, tmp_path)
    assert Analysis.read(tmp_path) == analysis


def test_the_same_evaluations_give_the_same_analysis(analysis, place):
    assert analyse(folders_at(place, "base", "middle", "final")).benchmarks == analysis.benchmarks


def test_a_set_of_one_task_is_a_benchmark_and_of_several_each_task_is(analysis):
    assert list(analysis.benchmarks) == [
        *("aime_2024", "codeforces", "reasoning_gym/acre", "reasoning_gym/graph_color"),
        *(f"graph_color_by_nodes/graph_color_{nodes}" for nodes in (10, 15, 20)),
    ]
    assert [name for name, one in analysis.benchmarks.items() if one.is_unseen] == ["reasoning_gym/acre"]


def test_curves_are_the_evaluations_own_pass_at_k(analysis, place):
    score = EvaluationFolder(place / "final").results().sets["codeforces"]
    curve = analysis.benchmarks["codeforces"].curves["final"]
    assert curve.ks == (1, 2, 4, 8, 16)
    assert list(curve.values) == pytest.approx([score.pass_at_k[k].value for k in curve.ks])
    assert all(low <= value <= high for low, value, high in zip(curve.lows, curve.values, curve.highs, strict=True))
    assert curve.bounds[0] is None
    assert all(value <= bound for value, bound in zip(curve.values[1:-1], curve.bounds[1:-1], strict=True))


def test_the_boundary_is_at_128_or_where_the_samples_end(analysis):
    assert analysis.k == 128
    assert {one.regime.k for one in analysis.benchmarks.values()} == {16}


def test_regimes_follow_the_chances_that_the_examples_were_made_with(analysis):
    kinds = {name: one.regime.kind for name, one in analysis.benchmarks.items()}
    assert kinds["reasoning_gym/acre"] == "diminish"
    assert kinds["codeforces"] == "sustained"
    assert kinds["reasoning_gym/graph_color"] in ("plateau", "sustained")
    gain = analysis.benchmarks["codeforces"].regime.gain
    curves = analysis.benchmarks["codeforces"].curves
    assert gain.value == pytest.approx(curves["final"].values[-1] - curves["base"].values[-1])


def test_pass_1_distributions_count_every_problem_once_and_shift_to_the_right(analysis):
    shift = analysis.benchmarks["codeforces"].distribution
    assert shift.edges[0] == 0.0 and shift.edges[-1] == 1.0
    assert {role: sum(counts) for role, counts in shift.counts.items()} == {"base": 12, "middle": 12, "final": 12}
    assert shift.means["base"] < shift.means["middle"] < shift.means["final"]
    assert shift.shift_p_value < 0.01
    assert shift.counts["base"][0] > shift.counts["final"][0]


def test_newly_solved_and_lost_problems_are_those_that_one_model_never_solves(analysis, place):
    changes = analysis.benchmarks["reasoning_gym/acre"].changes
    assert changes.newly_solved == () and {change.uid for change in changes.newly_lost} == {"acre-10", "acre-11"}
    solved = {role: {} for role in ("base", "final")}
    for role in solved:
        answers = EvaluationFolder(place / role).answers("codeforces")
        solved[role] = {answer.uid: answer.solved(0.99) for answer in answers}
    found = analysis.benchmarks["codeforces"].changes.newly_solved
    assert {change.uid for change in found} == {
        uid for uid in solved["base"] if solved["base"][uid] == 0 and solved["final"][uid] > 0
    }
    assert all(change.p_value <= change.adjusted <= 1.0 for change in found)
    assert [change.p_value for change in found] == sorted(change.p_value for change in found)
    assert found[0].hidden_up_to == pytest.approx(1 - 0.05 ** (1 / 16))


def test_a_sweep_is_made_of_tasks_that_end_in_their_level(analysis):
    (sweep,) = analysis.sweeps
    assert (sweep.task, sweep.set, sweep.levels, sweep.k) == ("graph_color", "graph_color_by_nodes", (10, 15, 20), 16)
    assert len(sweep.pass_1["final"]) == len(sweep.pass_k["base"]) == 3
    assert all(
        final.value > base.value for final, base in zip(sweep.pass_1["final"], sweep.pass_1["base"], strict=True)
    )


def test_without_a_middle_model_regimes_are_diminish_or_gain(place):
    found = analyse(folders_at(place, "base", "final"))
    assert {one.regime.kind for one in found.benchmarks.values()} == {"diminish", "gain"}
    assert all(one.regime.late_gain is None for one in found.benchmarks.values())


def many(gains, random):
    """Benchmarks whose base chances rise from easy to hard, and gain as told."""
    found = {}
    for number, gain in enumerate(gains):
        base_P = np.full(40, 0.5 ** (number + 1))
        counts = {
            "base": Counts(random.binomial(64, base_P), 64),
            "final": Counts(random.binomial(64, np.minimum(base_P + gain, 1.0)), 64),
        }
        uids = tuple(map(str, range(40)))
        found[f"b{number}"] = Benchmark(f"b{number}", "t", f"b{number}", f"b{number}", "math", uids, counts)
    return found


def test_weaker_starts_that_gain_more_are_a_significant_negative_correlation():
    found = competence(many([0.0, 0.0, 0.0, 0.01, 0.02, 0.03, 0.05, 0.1], np.random.default_rng(0)), 16)
    assert [point.benchmark for point in found.points] == [f"b{number}" for number in range(8)]
    for correlation in (found.base_and_gain, found.halves):
        assert correlation.pearson < -0.85 and correlation.pearson_p_value < 0.02
        assert correlation.points == 8


def test_pure_noise_correlates_with_the_gain_unless_the_answers_are_split():
    """Equal benchmarks, nothing gained, 30 of them: what base noise adds to the base it takes from the gain, a
    correlation of -0.71; from different halves it is none."""
    random = np.random.default_rng(0)
    plain, halves = [], []
    for repeat in range(20):
        benchmarks = {}
        for number in range(30):
            counts = {role: Counts(random.binomial(16, np.full(20, 0.1)), 16) for role in ("base", "final")}
            name = f"{repeat}-{number}"  # by which answers are split
            benchmarks[name] = Benchmark(name, "t", "b", "b", "math", tuple(map(str, range(20))), counts)
        found = competence(benchmarks, 1)
        plain.append(found.base_and_gain.pearson)
        halves.append(found.halves.pearson)
    assert np.mean(plain) == pytest.approx(-0.71, abs=0.06)
    assert np.mean(halves) == pytest.approx(0.0, abs=0.12)


def test_creativity_is_by_benchmark_and_correlated_with_the_gain(place, tmp_path):
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "seen.txt").write_text("Let me think. " * 8 + "The answer is \\boxed{1}.")
    folders = folders_at(place, "base", "final")
    analysis = analyse(folders, corpus=LocalCorpus(tmp_path / "texts"), responses=5)
    assert all(set(one.creativity) == {"base", "final"} for one in analysis.benchmarks.values())
    assert analysis.benchmarks["codeforces"].creativity["final"].responses == 5
    assert 0.0 < analysis.benchmarks["codeforces"].creativity["base"].index.value < 1.0
    assert all(point.creativity is not None for point in analysis.competence.points)
    assert analysis.competence.creativity_and_gain.points == 7


class NeverAsked:
    """A corpus whose look-ups would be for nothing."""

    def longest_matches(self, words, lengths):
        raise AssertionError("what can't be compared was looked up")


def test_evaluations_of_other_problems_can_not_be_compared(place, tmp_path):
    other = example_evaluation(tmp_path / "other", FINAL, name="other", samples=4)
    manifest = other.manifest()
    changed = {name: one.model_copy(update={"identity": "others"}) for name, one in manifest.sets.items()}
    other.write_manifest(manifest.model_copy(update={"sets": changed}))
    with pytest.raises(DataError, match="set 'aime_2024' doesn't have the same problems in"):
        analyse({"base": EvaluationFolder(place / "base"), "final": other}, corpus=NeverAsked())


def test_sets_that_not_all_models_have_are_left_out_and_none_in_common_is_an_error(place, tmp_path, caplog):
    few = example_evaluation(tmp_path / "few", {"codeforces": MIDDLE["codeforces"]}, name="few", samples=16)
    found = analyse({"base": EvaluationFolder(place / "base"), "final": few})
    assert list(found.benchmarks) == ["codeforces"]
    assert "not every model was evaluated on aime_2024, graph_color_by_nodes, reasoning_gym" in caplog.text
    none = example_evaluation(tmp_path / "none", {"ifeval": {"ifeval": [0.5]}}, name="none", samples=2)
    with pytest.raises(DataError, match="no set was evaluated for all of"):
        analyse({"base": EvaluationFolder(place / "base"), "final": none})


def test_an_evaluation_that_is_under_way_is_not_analysed(place, tmp_path):
    cut = example_evaluation(tmp_path / "cut", BASE, name="cut")
    cut.parts("aime_2024")[0].unlink()
    with pytest.raises(DataError, match="answers to 4 of 12 problems"):
        analyse({"base": EvaluationFolder(place / "base"), "final": cut})
