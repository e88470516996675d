"""The index of formulas names functions and tests that exist."""

import ast
from importlib import import_module
from pathlib import Path

import pytest

from nemo_prorl.algorithm import INDEX
from nemo_prorl.algorithm.advantage import ADVANTAGES
from nemo_prorl.algorithm.objective import OBJECTIVES
from nemo_prorl.algorithm.reduction import AGGREGATIONS
from nemo_prorl.algorithm.shaping import SHAPINGS
from nemo_prorl.plugins import resolve

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(("formula", "function", "test"), INDEX, ids=[formula.split(":")[0] for formula, _, _ in INDEX])
def test_every_formula_names_a_function_and_a_test_that_exist(formula, function, test):
    module, attribute = function.split(":")
    assert callable(getattr(import_module(module), attribute)), formula
    file, test_name = test.split("::")
    tree = ast.parse((ROOT / file).read_text())
    assert test_name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(
    "table",
    [OBJECTIVES, AGGREGATIONS, ADVANTAGES, SHAPINGS],
    ids=["objectives", "aggregations", "advantages", "shapings"],
)
def test_every_name_in_a_table_is_the_function_of_that_name(table):
    assert {name: resolve(name, table, "setting").__name__ for name in table} == {name: name for name in table}
