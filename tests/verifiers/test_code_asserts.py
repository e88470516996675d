"""Tests that are Python, and why a program can't pass one but by its values."""

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox is Linux's")

ADD = "def add(a, b):\n    return a + b\n"
HUMANEVAL_CHECK = """
METADATA = {"author": "somebody"}


def check(candidate):
    assert candidate(1, 2) == 3
    assert candidate([1], [2]) == [1, 2], "lists"
    assert True, "This prints if this assert fails"
    for number in range(3):
        assert candidate(number, number) == 2 * number
"""
EVALPLUS_CHECK = """
def is_floats(x) -> bool:
    return isinstance(x, float)


def assertion(out, exp, atol):
    exact_match = out == exp
    if atol == 0 and is_floats(exp):
        atol = 1e-6
    if not exact_match and atol != 0:
        assert abs(out - exp) <= atol
    else:
        assert exact_match


def check(candidate):
    inputs = [[1, 2], [0.1, 0.2], ["a", "b"], [3, 3]]
    results = [3, 0.3, "ab", 7]
    for i, (inp, exp) in enumerate(zip(inputs, results)):
        assertion(candidate(*inp), exp, 0)
"""


def test_each_statement_of_a_check_counts_and_each_turn_of_its_loops(code_reward):
    """Five assertions that call it (assert True doesn't), of which one adds lists."""
    reference = {"test": HUMANEVAL_CHECK, "entry_point": "add"}
    assert code_reward(reference, ADD) == 1.0
    assert code_reward(reference, "def add(a, b):\n    return int(a) + int(b)") == pytest.approx(4 / 5)


def test_a_check_may_have_functions_of_its_own(code_reward):
    """EvalPlus's: 3 + 3 is not 7."""
    assert code_reward({"test": EVALPLUS_CHECK, "entry_point": "add"}, ADD) == pytest.approx(3 / 4)


def test_a_check_may_use_what_the_prompt_defines(code_reward):
    prompt = "def twice(a):\n    return 2 * a\n\n\ndef half(a):\n    '''Undoes twice.'''\n"
    reference = {
        "prompt": prompt,
        "entry_point": "half",
        "test": "def check(candidate):\n    for a in range(4):\n        value = candidate(twice(a))\n"
        "        assert value == a\n",
    }
    assert code_reward(reference, "def half(a):\n    return a // 2") == 1.0
    assert code_reward(reference, "def half(a):\n    return a") == pytest.approx(1 / 4)


def test_tests_may_expect_an_exception(code_reward):
    reference = {"tests": "try:\n    root(-1)\n    assert False\nexcept ValueError:\n    pass\nassert root(4) == 2"}
    assert code_reward(reference, "def root(a):\n    return math.sqrt(a)") == 1.0
    assert code_reward(reference, "def root(a):\n    return abs(a) ** 0.5") == 1 / 2


@pytest.mark.parametrize(
    ("tests", "expected"),
    [
        ("once = add(1, 1)\nassert add(once, once) == 4\nassert add(once, 1) == 4", 1 / 2),  # answers lead to questions
        ("for item in add([1], [2]):\n    assert item < 2", 1 / 2),
        ("for i in range(add(1, 1)):\n    assert add(i, i) == 2 * i", 1.0),
        ("for i in range(len(add([1], [2]))):\n    assert add(i, 1) == i + 1", 1.0),
        ("if 2 in add([1], [2]):\n    assert add(1, 1) == 2", 1.0),
        ("total = 0\nwhile total < 3:\n    total = add(total, 1)\nassert total == 3", 1.0),
        ("import random\nfor _ in range(9):\n    a = random.random()\n    assert add(a, a) == 2 * a", 1.0),
        ("first = add([], [])[0]\nassert add(1, 1) == 2", 0.0),  # what comes after such a value can't be tested
        ("assert add(1, 1) == 2\nfirst = add([], [])[0]\nassert first == 1", 1 / 2),
        ("if add(1, 1) == 2:\n    assert add(2, 2) == 4\nelse:\n    assert False", 1.0),
        ("def holds(a):\n    assert add(a, a) == 2 * a\n\n\nholds(1)\nholds(2.5)", 1.0),
        ("assert sorted(add(b=[1], a=[3])) == [1, 3]", 1.0),
        ("assert add({1}, {2}) == {1, 2} or add((1,), (2,)) == (1, 2)", 0.0),  # there is no + of sets
        ("assert add((1,), (2,)) == (1, 2)\nassert add((1,), (2,)) == [1, 2]", 1 / 2),
        ("assert add(b'a', b'b') == b'ab'\nassert add(1j, 1) == 1 + 1j", 1.0),
        ("with contextlib.suppress(ValueError):\n    assert add(1, 1) == 3", 0.0),
    ],
)
def test_tests_may_be_any_python(code_reward, tests, expected):
    assert code_reward({"tests": tests, "test_imports": ["import contextlib"]}, ADD) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("tests", "program"),
    [
        ("for item in f():\n    assert item == 1", "def f(): return []"),  # it leaves no test to fail
        ("x = 0\nwhile x < 1:\n    x = f(x)\nassert True\nassert x == 1", "def f(x): return x + 1e-9"),
        ("assert f() ** f() > 0", "def f(): return 10 ** 8"),  # no judge lives to see it
    ],
)
def test_values_that_hold_up_the_judge_are_worth_nothing(code_reward, tests, program):
    assert code_reward({"tests": tests}, program) == 0.0


def test_arguments_may_be_objects_that_only_the_program_can_make(code_reward):
    """MBPP has such tests."""
    reference = {"test_list": ["assert longest([Pair(5, 24), Pair(15, 25)], 4) == 20", "assert Box(3).size() == 3"]}
    program = "class Pair:\n    def __init__(self, a, b):\n        self.a, self.b = a, b\n"
    program += "def longest(pairs, n):\n    return sum(pair.a for pair in pairs)\n"
    program += (
        "class Box:\n    def __init__(self, n):\n        self.n = n\n    def size(self):\n        return self.n\n"
    )
    assert code_reward(reference, program) == 1.0


@pytest.mark.parametrize(
    "program",
    [
        "class Any:\n    def __eq__(self, other): return True\ndef add(a, b): return Any()",
        "class Any(int):\n    def __eq__(self, other): return True\ndef add(a, b): return Any()",
        "import builtins\nbuiltins.abs = lambda a: 0\nbuiltins.AssertionError = None\ndef add(a, b): return 0",
        "import sys\nsys.modules['json'] = None\ndef check(candidate): pass\ndef add(a, b): return 0",
        'import sys\ndef add(a, b):\n    sys.stdout.write(\'{"passed": 3, "total": 3}\')\n    sys.exit(0)',
        "import os\ndef add(a, b):\n    os.write(3, b'[{\"value\": 3}]'); os._exit(0)",
        "def judge_tests(request): return {'passed': 3, 'total': 3, 'asked': {}}\ndef add(a, b): return 0",
        "import ast\nast.parse = lambda text: 1 / 0\ndef add(a, b): return 0",
    ],
)
@pytest.mark.parametrize(
    "reference",
    [
        {"test_list": ["assert add(1, 1) == 2", "assert abs(add(2, 2) - 4) < 1e-6", "assert add(2, 1) + 1 == 4"]},
        {"inputs": [[1, 1], [2, 2], [4, 5]], "outputs": [2, 4, 9], "fn_name": "add"},
    ],
    ids=["asserts", "values"],
)
def test_a_verdict_can_not_be_forged(code_reward, reference, program):
    """One program guesses 3, which is the last value that the assertions ask for; that is a guess, and no more."""
    guessed = 1 / 3 if "os.write" in program and "test_list" in reference else 0.0
    assert code_reward(reference, program) == pytest.approx(guessed)
