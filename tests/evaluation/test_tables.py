"""An evaluation in the layouts of the paper's tables."""

import numpy as np
import pytest

from nemo_prorl.data.sources.reasoning_gym_tasks import TRAINING_TASKS
from nemo_prorl.evaluation.folder import TABLES_MARKDOWN, TABLES_TEXT
from nemo_prorl.evaluation.published import BASE, MATH, PRORL
from nemo_prorl.evaluation.results import write_results
from tests.evaluation.examples import example_evaluation

MATH_SETS = ("aime_2024", "aime_2025", "amc", "math_500", "minerva", "olympiad_bench")


def table_of(results, source):
    return next(table for table in results.tables if table.source == source)


def columns_of(results, source):
    return {column.name: column for column in table_of(results, source).columns}


def test_table_1_s_average_is_the_mean_of_its_columns_and_missing_without_one(tmp_path):
    chances = {name: {name: np.linspace(0, 1, 6)} for name in MATH_SETS}
    whole = example_evaluation(tmp_path / "whole", chances, samples=4).results()
    columns = columns_of(whole, "ProRL, Table 1")
    assert list(columns) == ["AIME24", "AIME25", "AMC", "Math", "Minerva", "Olympiad", "Avg"]
    mean = np.mean([columns[name].measure.value for name in columns if name != "Avg"])
    assert columns["Avg"].measure.value == pytest.approx(mean)
    assert columns["AIME24"].measure.value == pytest.approx(100 * whole.sets["aime_2024"].score.value)
    del chances["amc"]
    part = columns_of(example_evaluation(tmp_path / "part", chances, samples=4).results(), "ProRL, Table 1")
    assert part["AMC"].measure is None and part["Avg"].measure is None
    assert part["Math"].measure is not None


def test_tables_of_which_nothing_was_evaluated_are_left_out(tmp_path):
    results = example_evaluation(tmp_path, {"ifeval": {"ifeval": [0.5, 0.5]}}, samples=2).results()
    assert [table.source for table in results.tables] == ["ProRL, Table 3"]


def test_table_5_is_by_category_and_its_average_by_task(tmp_path):
    """A base of 1 on every task of algebra and 0 elsewhere: 6 of 96 tasks."""
    chances = {
        task: [1.0 if category == "algebra" else 0.0] * 2
        for category, tasks in TRAINING_TASKS.items()
        for task in tasks
    }
    results = example_evaluation(tmp_path, {"reasoning_gym": chances}, samples=2).results()
    columns = columns_of(results, "ProRL, Table 5")
    assert (columns["algebra"].measure.value, columns["games"].measure.value) == (100.0, 0.0)
    assert columns["Avg"].measure.value == pytest.approx(100 * 6 / 96)
    assert columns_of(results, "ProRL, Table 3")["Reasoning"].measure.value == pytest.approx(100 * 6 / 96)


def test_the_average_over_some_tasks_alone_is_not_called_the_paper_s(tmp_path):
    results = example_evaluation(tmp_path, {"reasoning_gym": {"graph_color": [1.0, 1.0]}}, samples=2).results()
    assert results.tables == ()


def test_published_numbers_stand_beside_where_they_are_asked_for(tmp_path):
    folder = example_evaluation(tmp_path, samples=4)
    assert table_of(folder.results(), "ProRL, Table 1").columns[0].published == {}
    results = write_results(folder, beside=[BASE, PRORL])
    assert columns_of(results, "ProRL, Table 1")["Avg"].published == {
        BASE: MATH.of(BASE)["Avg"],
        PRORL: MATH.of(PRORL)["Avg"],
    }
    text, markdown = ((tmp_path / name).read_text() for name in (TABLES_TEXT, TABLES_MARKDOWN))
    own = results.sets["aime_2024"].score
    assert f"{100 * own.value:.2f} ± {100 * own.standard_error:.2f}" in text
    assert f"| {PRORL} (published) | 48.13 | 33.33 | 79.29 | 91.89 | 47.98 | 60.22 | 60.14 |" in markdown
    assert all(line.startswith(("#", "|", "Per cent")) for line in markdown.splitlines() if line)
