"""References that can't be judged by, through the real verifiers in their own processes."""

from collections import Counter

import pytest

from nemo_prorl.data.quality.answers import OwnReference, Verifiable, right_response
from nemo_prorl.data.quality.length import PromptLength
from nemo_prorl.data.sources.reasoning_gym import ReasoningGymSource
from nemo_prorl.verifiers.pool import VerifierPool
from nemo_prorl.verifiers.rows import RowJudge


@pytest.fixture(scope="module")
def judge():
    with VerifierPool(workers=1, deadline_seconds=20.0, max_error_rate=1.0, min_verdicts_to_judge=1) as pool:
        yield RowJudge(pool)


@pytest.mark.parametrize("ahead", [False, True])
def test_an_answer_that_is_missing_or_unreadable_is_rejected(judge, row, ahead):
    rows = {
        "fine": row("1?", "1", reference={"answer": "1/2"}),
        "no answer: ' '": row("2?", "2", reference={"answer": " ", "thinking": True}),
        "no answer: None": row("3?", "3", reference={"solution": "It is 2."}),
        "no answer: the reference is empty": row("4?", "4", "code", {}),
        "not verifiable: the verifier raised": row("5?", "5", "code", {"inputs": ["1"], "outputs": []}),
        "not verifiable": row("6?", "6", "instruction", {"instruction_id_list": ["no:such"], "kwargs": [{}]}),
        "not a short answer: 900 characters": row("7?", "7", "stem", {"answer": "because, " * 100}),
    }
    answers = Verifiable(judge.objection, threads=2)
    if ahead:
        answers.prepare(iter(rows.values()))
    for expected, one in rows.items():
        reason = answers.judge(one)
        assert reason is None if expected == "fine" else reason.startswith(expected)


def test_a_reference_that_fails_its_own_verifier_is_rejected(judge, row):
    evalplus = {
        "prompt": "def add(a, b):\n    '''The sum.'''\n",
        "entry_point": "add",
        "base_input": [[1, 2]],
        "plus_input": [],
    }
    tests = {"inputs": ["1 2\n"], "outputs": ["3\n"]}
    right, wrong = "a, b = map(int, input().split())\nprint(a + b)", "print(4)"
    rows = [
        row("1?", "math", reference={"answer": r"\frac{1}{2}"}),
        row("2?", "stem", "stem", {"answer": "9.81", "unit": "m/s^2"}),
        row("3?", "humaneval", "code", {**evalplus, "canonical_solution": "    return a + b\n"}),
        row("4?", "code right", "code", tests, {"solution": right}),
        row("5?", "code wrong", "code", tests, {"solution": wrong}),
        row("6?", "code unknown", "code", tests),
        row("7?", "instruction", "instruction", {"instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}),
    ]
    own = OwnReference(judge, threads=2)
    own.prepare(iter(rows))
    rejected = {one.uid: reason for one in rows if (reason := own.judge(one)) is not None}
    assert list(rejected) == ["code wrong"]
    assert rejected["code wrong"].startswith("fails its own verifier: reward 0, ")


def test_every_kind_of_puzzle_accepts_its_own_answer_or_has_none(judge):
    tasks = ("chain_sum", "graph_color", "rubiks_cube", "sudoku", "arc_agi", "countdown")
    source = ReasoningGymSource("gym", tasks={task: {} for task in tasks}, seed=5)
    own = OwnReference(judge)
    fed = Counter()
    for task in tasks:
        one = source.row_of(task, 0)
        fed[task] += right_response(one) is not None
        assert own.judge(one) is None
    assert {task for task in tasks if not fed[task]} == {"rubiks_cube"}  # it knows no answer of its own


def test_a_long_prompt_is_rejected_by_the_models_own_tokens(row, tokenizer):
    length = PromptLength(lambda one: len(tokenizer.render(one.messages)), max_prompt_tokens=30)
    assert length.judge(row("1 + 1?")) is None
    assert length.judge(row("1 + 1 = ? " * 9)).startswith("long prompt: ")
