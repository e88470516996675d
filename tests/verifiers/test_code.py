"""Programs against tests in the layouts of the data sets, by the real sandbox."""

import json
import sys
import time

import pytest

from nemo_prorl.verifiers.code_runs import Runs
from nemo_prorl.verifiers.sandbox import Program, Ran
from tests.verifiers.livecodebench import packed

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

ADD = "def add(a, b):\n    return a + b\n"
ADD_SCRIPT = "print(sum(map(int, input().split())))"


@pytest.mark.parametrize(
    "reference",
    [
        {"inputs": ["1 2\n", "5 7\n", "1 1\n"], "outputs": ["3\n", "12\n", "5\n"]},
        {"inputs": [["1 2"], ["5 7"], ["1 1", ""]], "outputs": [["3"], ["12", ""], ["5"]]},
        {"ground_truth": json.dumps({"inputs": ["1 2", "5 7", "1 1"], "outputs": ["3", "12", "5"]})},
        {"input_output": json.dumps({"fn_name": None, "inputs": ["1 2", "5 7", "1 1"], "outputs": [3, 12, 5]})},
        {"answer": json.dumps({"inputs": ["1 2", "5 7", "1 1"], "outputs": ["3", "12", "5"]})},
        {"tests": [{"input": f"{a} {b}", "output": str(c)} for a, b, c in [(1, 2, 3), (5, 7, 12), (1, 1, 5)]]},
        {
            "public_test_cases": json.dumps([{"input": "1 2\n", "output": "3", "testtype": "stdin"}]),
            "private_test_cases": packed(
                [{"input": "5 7", "output": "12", "testtype": "stdin"}, {"input": "1 1", "output": "5"}]
            ),
            "metadata": "{}",
        },
    ],
    ids=["strings", "lines", "eurus", "taco", "answer", "tests", "livecodebench"],
)
def test_a_script_gets_the_part_of_tests_that_it_passes(code_reward, reference):
    """Of 1+2=3, 5+7=12 and 1+1=5 the last is none; nothing stops at a wrong one."""
    assert code_reward(reference, ADD_SCRIPT) == pytest.approx(2 / 3)
    assert code_reward(reference, "print(5)") == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    "reference",
    [
        {"inputs": ["1\n2", "5\n7", "1\n1"], "outputs": ["3", "12", "5"], "fn_name": "add"},
        {"inputs": [[1, 2], [5, 7], [1, 1]], "outputs": [3, 12, 5], "fn_name": "add"},
        {"inputs": [[1, 2], [5, 7], [1, 1]], "outputs": [[3], [12], [5]], "fn_name": "add"},
        {
            "ground_truth": json.dumps(
                {"inputs": [[1, 2], [5, 7], [1, 1]], "outputs": [[3], [12], [5]], "fn_name": "add"}
            )
        },
        {
            "tests": [{"input": f"{a}\n{b}", "output": str(c)} for a, b, c in [(1, 2, 3), (5, 7, 12), (1, 1, 5)]],
            "fn_name": "add",
        },
        {
            "public_test_cases": [{"input": "1\n2", "output": "3", "testtype": "functional"}],
            "private_test_cases": packed(
                [
                    {"input": "5\n7", "output": "12", "testtype": "functional"},
                    {"input": "1\n1", "output": "5", "testtype": "functional"},
                ]
            ),
            "metadata": json.dumps({"func_name": "add"}),
        },
        {"test_list": ["assert add(1, 2) == 3", "assert add(5, 7) == 12", "assert add(1, 1) == 5"]},
        {"tests": "assert add(1, 2) == 3\nassert add(5, 7) == 12\nassert add(1, 1) == 5"},
        {
            "prompt": 'def add(a, b):\n    """The sum."""\n',
            "entry_point": "add",
            "canonical_solution": "    return a + b if a != 1 or b != 1 else 5\n",
            "base_input": [[1, 2], [5, 7]],
            "plus_input": [[1, 1]],
            "atol": 0,
        },
        {
            "test": "def check(candidate):\n    for a, b, c in [(1, 2, 3), (5, 7, 12), (1, 1, 5)]:\n"
            "        assert candidate(a, b) == c\n",
            "entry_point": "add",
        },
    ],
    ids=["eurus", "values", "packed", "taco", "tests", "livecodebench", "mbpp", "asserts", "evalplus", "humaneval"],
)
def test_a_function_gets_the_part_of_tests_that_it_passes(code_reward, reference):
    assert code_reward(reference, ADD) == pytest.approx(2 / 3)
    method = "class Solution:\n    def add(self, a, b):\n        return {3: 3, 12: 12}[a + b]"
    assert code_reward(reference, method) == pytest.approx(2 / 3)
    assert code_reward(reference, "def add(a, b):\n    return 5") == pytest.approx(1 / 3)
    assert code_reward(reference, "def sub(a, b):\n    return 5") == 0.0
    assert (
        code_reward(reference, "print(3)") == 0.0
    )  # operator's add, which the star imports bring, isn't the program's


@pytest.mark.parametrize(
    ("function", "arguments", "expected"),
    [
        ("lambda d: d[2]", [{"1": "a", "2": "b"}], "b"),  # whole-number keys were numbers before they were JSON
        ("lambda d: d['x']", [{"x": 1, "2": 2}], 1),
        ("lambda a: {1: a}", [5], {"1": 5}),
        ("lambda a: (a, (a,))", [5], [5, [5]]),
        ("lambda a: [a]", [5], [5]),
        ("lambda: [0]", [], [0]),
        ("lambda text: text.upper()", ["né"], "NÉ"),
        ("lambda a: a / 3", [1], 0.33333333),
        ("lambda a: __import__('numpy').array([a, a])", [5], [5, 5]),
        ("lambda a: Counter([a])", ["x"], {"x": 1}),  # Counter without an import, as in the data sets' own graders
        ("lambda a: pow(a, 2, 7)", [3], 2),  # math's pow, which the star imports bring, has no third argument
    ],
)
def test_values_cross_the_sandbox(code_reward, function, arguments, expected):
    reference = {"inputs": [arguments], "outputs": [expected], "fn_name": "f"}
    assert code_reward(reference, f"f = {function}") == 1.0


def test_a_list_of_one_value_is_taken_for_that_value_only_if_all_are_such_lists(code_reward):
    assert code_reward({"inputs": [[1], [2]], "outputs": [[1], [2]], "fn_name": "f"}, "def f(a): return a") == 1.0
    assert code_reward({"inputs": [[1], [2]], "outputs": [[1], [2, 2]], "fn_name": "f"}, "def f(a): return a") == 0.0


def test_order_and_tolerance_are_as_the_reference_says(code_reward):
    lines = {"inputs": [""], "outputs": ["a 1\nb 2"]}
    program = "print('b 2')\nprint('a 1')"
    assert (code_reward(lines, program), code_reward(lines | {"any_order": "lines"}, program)) == (0.0, 1.0)
    elements = {"inputs": [[]], "outputs": [[[1, 2]]], "fn_name": "f"}
    assert code_reward(elements, "def f(): return [2, 1]") == 0.0
    assert code_reward(elements | {"any_order": "elements"}, "def f(): return [2, 1]") == 1.0
    number = {"inputs": [""], "outputs": ["0.333"]}
    assert (code_reward(number, "print(1/3)"), code_reward(number | {"atol": 1e-3}, "print(1/3)")) == (0.0, 1.0)


def test_the_budget_is_for_all_tests_together(code_verifier, monkeypatch):
    """Three tests of 0.9 s each are more than 2 s, and then two right answers are worth nothing either."""
    monkeypatch.setattr(code_verifier, "budget_seconds", 2.0)
    reference = {"inputs": ["1", "2", "3"], "outputs": ["1", "2", "3"]}
    verdict = code_verifier.check(reference, "```python\nimport time\ntime.sleep(0.9)\nprint(input())\n```")
    assert (verdict.reward, verdict.outcome) == (0.0, "scored")
    assert "2 s are over at input" in verdict.reason


class SlowToCompile:
    """Stands for a sandbox; each program takes it 0.2 s before the first input."""

    def __init__(self):
        self.budgets = []

    def run(self, program, inputs, *, budget_seconds):
        self.budgets.append(budget_seconds)
        time.sleep(0.2)
        yield from [Ran("ok", b"", 0.0, "")] * len(inputs)


def test_what_is_compiled_again_has_less_time_each_time():
    sandbox = SlowToCompile()
    runs = Runs(sandbox, 100.0, {})
    for _ in range(3):
        assert len(list(runs.run(Program(""), ["", ""]))) == 2
    first, second, third = sandbox.budgets
    assert first == 100.0 and 0.0 < third <= second - 0.2 <= 99.6


def test_what_does_not_compile_is_worth_nothing_and_says_so(code_verifier):
    verdict = code_verifier.check({"inputs": [""], "outputs": [""]}, "```python\nprint(\n```")
    assert verdict.reward == 0.0
    assert "doesn't compile: SyntaxError" in verdict.reason


def test_a_reason_names_the_first_failure(code_verifier):
    reference = {"inputs": ["1", "2", "3"], "outputs": ["1", "3", "4"]}
    verdict = code_verifier.check(reference, "```python\nprint(input())\n```")
    assert verdict.reason == "1 of 3 tests passed; test 2: printed '2', expected '3'"
    verdict = code_verifier.check(reference, "```python\nprint(1 // (int(input()) - 1))\n```")
    assert (
        verdict.reason == "0 of 3 tests passed; test 1: failed: ZeroDivisionError: integer division or modulo by zero"
    )


@pytest.mark.parametrize(
    "written",
    [
        "",
        "nonsense",
        "[",
        "[" * 100_000,
        "9" * 5000,
        "[]",
        "[5]",
        "[{}]",
        '[{"value": 3, "more": 4}]',
        '[{"raised": 5}]',
        '[{"value": {"dict": [[[], 1]]}}]',
        '[{"value": {"dict": 5}}]',
        '[{"value": {"set": [[]]}}]',
        '[{"value": {"bytes": "zz"}}]',
        '[{"value": {"complex": [%s, 0]}}]' % ("1" + "0" * 400),
        '[{"value": {"later": ["f", [], {}]}}]',
        '[{"value": {"kind": 1}}]',
        '[{"value": {"tuple": 1, "set": 2}}]',
        '[{"value": %s}]' % ("[" * 900 + "]" * 900),
        "\x00\ud800",
    ],
    ids=lambda written: written[:40],
)
@pytest.mark.parametrize("order", [{}, {"any_order": "elements"}], ids=["in order", "in any order"])
def test_whatever_a_program_writes_in_place_of_a_value_is_wrong(code_reward, written, order):
    program = f"import os\ntext = {written!r}.encode(errors='surrogatepass')\n"
    program += "def f():\n    global text\n    while text:\n        text = text[os.write(3, text):]\n    os._exit(0)"
    assert code_reward({"inputs": [[]], "outputs": [[3]], "fn_name": "f"} | order, program) == 0.0
    assert code_reward({"tests": "assert f() == 3"}, program) == 0.0


@pytest.mark.parametrize(
    "names",
    [
        *(
            "annotations",
            "annotations; import math",
            "annotations  # new",
            "(annotations)",
            "annotations, \\\n    division",
        ),
        *("(annotations, division)", "(\n    annotations,\n    division,\n)  # both"),
    ],
)
def test_imports_from_the_future_stay_first(code_reward, names):
    program = f"'''A solution.'''\nfrom __future__ import {names}\n\n{ADD_SCRIPT}"
    assert code_reward({"inputs": ["1 2"], "outputs": ["3"]}, program) == 1.0


def test_many_calls_share_processes(code_reward):
    """A thousand, as EvalPlus has."""
    numbers = list(range(1000))
    reference = {"inputs": [[number, 1] for number in numbers], "outputs": [n + 1 for n in numbers], "fn_name": "add"}
    assert code_reward(reference, ADD) == 1.0
    assert code_reward(reference, "def add(a, b):\n    return a + b if a % 10 else None") == pytest.approx(0.9)


def test_reasoning_that_never_ends_holds_no_program(code_verifier):
    reference, program = {"inputs": [""], "outputs": ["3"]}, "```python\nprint(3)\n```"
    assert code_verifier.check(reference, f"<think>{program}").outcome == "no_answer"
    assert code_verifier.check(reference, f"<think>{program}</think>").outcome == "no_answer"
    assert code_verifier.check(reference, f"a</think>{program}").reward == 1.0
    assert code_verifier.check(reference, program).reward == 1.0
    assert code_verifier.check(reference | {"thinking": True}, program).outcome == "no_answer"  # the prompt began it
