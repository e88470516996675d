"""Evaluations and an analysis as sections of a page."""

import pytest

from nemo_prorl.analysis.boundary_section import boundary_section
from nemo_prorl.analysis.evaluation_section import ANSWERS_PER_PROBLEM, evaluation_samples, evaluation_section
from nemo_prorl.evaluation.published import BASE, PRORL
from tests.analysis.example_analysis import LEVELS, example_analysis
from tests.evaluation.examples import BASE as CHANCES
from tests.evaluation.examples import FINAL, example_evaluation


@pytest.fixture(scope="module")
def evaluations(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluations")
    return [
        example_evaluation(folder / name, chances, name=name, samples=8)
        for name, chances in (("first", CHANCES), ("last", FINAL))
    ]


def test_the_papers_numbers_stand_below_ours_in_its_own_layout(evaluations):
    results = [folder.results() for folder in evaluations]
    table = evaluation_section(results)["tables"][0]
    assert table["heads"] == ["model", "AIME24", "AIME25", "AMC", "Math", "Minerva", "Olympiad", "Avg"]
    rows = {row[0]: row[1:] for row in table["rows"]}
    assert list(rows)[:2] == ["first", "last"], "in the order in which they are given"
    measure = results[0].sets["aime_2024"].score
    assert rows["first"][0] == f"{100 * measure.value:.2f} ± {100 * measure.standard_error:.2f}"
    assert rows["first"][1] == "\N{EN DASH}", "it wasn't evaluated on"
    assert rows[f"{BASE} (published)"][0] == "28.54" and rows[f"{PRORL} (published)"][-1] == "60.14"
    assert "Table 1" in table["note"]


def test_each_evaluation_has_its_sets_and_their_tasks(evaluations):
    folds = evaluation_section([folder.results() for folder in evaluations])["folded"]
    assert [fold["title"] for fold in folds] == ["By set and task: first", "By set and task: last"]
    (table,) = folds[0]["tables"]
    names = [row[0] for row in table["rows"]]
    assert names[:2] == ["aime_2024", "codeforces"] and "reasoning_gym: acre" in names
    assert {"pass@1", "pass@4"} < set(table["heads"])


def test_answers_of_an_evaluation_are_told_as_those_of_a_training(evaluations):
    records = list(evaluation_samples(evaluations[0]).read())
    problems = evaluations[0].problems(("uid",))["uid"]
    assert len(records) == ANSWERS_PER_PROBLEM * len(problems)
    first = records[0]
    assert first["from"] == "evaluation: first, aime_2024" and first["prompt"] == "Question 0 of aime_2024?"
    assert "boxed" in first["response"] and first["prompt_tokens"] == 3 and first["step"] == 0


def test_the_boundary_has_a_curve_a_model_with_its_band():
    section = boundary_section(example_analysis())
    competence, *curves = section["plots"]
    assert [plot["title"] for plot in curves] == list(LEVELS)
    base, final = curves[0]["series"]
    assert (base["label"], base["x"], base["y"][-1]) == ("base", [1, 2, 4, 8, 16], 0.72)
    assert (base["low"][0], base["high"][0]) == (0.12, 0.28) and final["colour"] != base["colour"]
    assert curves[0]["note"].startswith("Diminish, 97% sure; pass@16 -0.110 ± 0.030.")
    points = {
        name: (x, y)
        for one in competence["series"]
        for name, x, y in zip(one["names"], one["x"], one["y"], strict=True)
    }
    assert points["reasoning_gym/boxnet"] == (0, 0.97)
    assert "Correlation -0.98 (p 0.04)" in competence["note"] and "No correlation can be told" in competence["note"]


def test_what_is_not_known_of_the_boundary_has_no_fold():
    titles = [fold["title"] for fold in boundary_section(example_analysis())["folded"]]
    assert titles == ["Difficulty", "Shifts of pass@1", "Newly solved and newly lost problems"]
    (table, *_) = boundary_section(example_analysis())["folded"][2]["tables"]
    assert table["rows"] == [["one-1", "newly solved", "0 of 16", "9 of 16", "0.0003", "0.004", "0.171"]]
