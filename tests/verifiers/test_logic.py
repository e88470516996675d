"""reasoning-gym's scorers, on answers in tags."""

import json

import pytest
import reasoning_gym

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.logic import MAX_ANSWER_CHARS, LogicVerifier
from nemo_prorl.verifiers.logic_screen import EVALUATES_ALGEBRA, EVALUATES_PYTHON
from nemo_prorl.verifiers.permission import UnconfinedError

SUM = {"dataset": "chain_sum", "entry": {"question": "1 + 2 =", "answer": "3", "metadata": {}}}


@pytest.fixture(scope="module")
def verifier():
    return LogicVerifier()


def reference_of(task, seed=3, **config):
    """An entry as a prompt carries it: through JSON, so without tuples."""
    entry = reasoning_gym.create_dataset(task, seed=seed, size=1, **config)[0]
    return json.loads(json.dumps({"dataset": task, "entry": entry, "config": config}))


def entry(answer, **metadata):
    return {"question": "", "answer": answer, "metadata": metadata}


def test_partial_credit_is_the_scorers_own(verifier):
    """chain_sum pays 1 for the sum and len(gold) / len(answer) for an answer that contains it: "1 + 2 = 3" has 9."""
    assert verifier.check(SUM, "<answer>3</answer>").reward == 1.0
    assert verifier.check(SUM, "<answer>1 + 2 = 3</answer>").reward == pytest.approx(1 / 9)
    assert verifier.check(SUM, "<answer>4</answer>").reward == 0.0


def test_the_last_answer_counts(verifier):
    assert verifier.check(SUM, "<answer>4</answer> no <answer>3</answer>").reward == 1.0
    assert verifier.check(SUM, "<answer>3</answer> no <answer>4</answer>").reward == 0.0


@pytest.mark.parametrize("text", ["", "3", r"\boxed{3}", "<answer>3", "3</answer>"])
def test_without_a_closed_tag_there_is_no_answer(verifier, text):
    verdict = verifier.check(SUM, text)
    assert (verdict.reward, verdict.outcome) == (0.0, "no_answer")


def test_no_answer_is_worth_nothing_where_upstream_pays_for_none(verifier):
    """fraction_simplification gives 0.01 to None and to nonsense; only one of them has answered."""
    reference = reference_of("fraction_simplification")
    assert verifier.check(reference, "I don't know.").reward == 0.0
    assert verifier.check(reference, "<answer>nonsense</answer>").reward == 0.01


def test_an_endless_answer_is_not_read(verifier):
    verdict = verifier.check(SUM, "<answer>" + "3" * (MAX_ANSWER_CHARS + 1) + "</answer>")
    assert (verdict.reward, verdict.outcome) == (0.0, "scored")
    assert str(MAX_ANSWER_CHARS) in verdict.reason


def test_a_long_solution_is(verifier):
    """One matrix of 100 x 100 has more than 16384 characters."""
    reference = reference_of("rotate_matrix", min_n=100, max_n=100)
    gold = reference["entry"]["answer"]
    assert len(gold) > MAX_ANSWER_CHARS
    assert verifier.check(reference, f"<answer>{gold}</answer>").reward == 1.0


def test_an_answer_that_breaks_its_scorer_is_wrong(verifier):
    """prime_factorization reads whole numbers and raises ValueError on anything else; boxnet wants objects."""
    verdict = verifier.check(reference_of("prime_factorization"), "<answer>two times three</answer>")
    assert (verdict.reward, verdict.outcome) == (0.0, "scored")
    assert "ValueError" in verdict.reason
    for answer in ("[1]", '{"a": "b"}', '[{"a": 1}]', "[" * 9000):
        verdict = verifier.check(reference_of("boxnet"), f"<answer>{answer}</answer>")
        assert (verdict.reward, verdict.outcome) == (0.0, "scored")


def test_four_tasks_without_a_solution_of_their_own_are_scored_too(verifier):
    colours = reference_of("graph_color")
    possible = json.dumps(colours["entry"]["metadata"]["possible_answer"])
    moves = {"initial_state": {"0.5_0.5": ["box_red", "target_red"], "0.5_1.5": ["box_blue"], "1.5_1.5": []}}
    boxes = {"dataset": "boxnet", "entry": entry(None, **moves)}
    one_of_two = (
        '[{"Agent[0.5, 0.5]": "move(box_red, target_red)", "Agent[0.5, 1.5]": "move(box_blue, square[1.5, 1.5])"}]'
    )
    cars = {"dataset": "rush_hour", "entry": entry(None, board_config="o" * 12 + "AA" + "o" * 22)}
    cube = reference_of("rubiks_cube")
    assert all(reference["entry"]["answer"] is None for reference in (boxes, cars, cube))
    for reference, answer, reward in [
        (colours, possible, 1.0),
        (colours, "{}", 0.01),
        (boxes, one_of_two, 0.5),
        (cars, "A+4", 1.0),
        (cars, "A+1", 0.01),
        (cube, cube["entry"]["metadata"]["example_correct_answer"], 1.0),
    ]:
        assert verifier.check(reference, f"<answer>{answer}</answer>").reward == reward, answer


@pytest.mark.parametrize(
    ("dataset", "entry", "answer", "strict", "upstream"),
    [
        ("game_of_life_halting", entry("False"), "True", 0.0, 1.0),
        ("game_of_life_halting", entry("False"), "not sure", 0.0, 1.0),
        ("game_of_life_halting", entry("False"), "false", 1.0, 1.0),
        ("complex_arithmetic", entry("1 + 2i", result=[1, 2]), "nan", 0.0, 1.0),
        ("complex_arithmetic", entry("1 + 2i", result=[1, 2]), "nan + nani", 0.0, 1.0),
        ("complex_arithmetic", entry("1 + 2i", result=[1, 2]), "2i + 1", 0.0, 0.0),
        ("complex_arithmetic", entry("1 + 2i", result=[1, 2]), "1.0+2.0i", 1.0, 1.0),
        ("number_sorting", entry("['1', '2']", direction="ascending"), "['nan', 'nan']", 0.0, 1.0),
        ("number_sorting", entry("['1', '2']", direction="ascending"), "[NaN, NaN]", 0.0, 1.0),
        ("number_sorting", entry("['1', '2']", direction="ascending"), r'["\u006ean", "nan"]', 0.0, 1.0),
        ("number_sorting", entry("['1', '2']", direction="ascending"), "[1.0, 2]", 1.0, 1.0),
        ("coin_flip", entry("0.9375"), "0", 1 / 6, 1.0),
        ("coin_flip", entry("0.5"), "0.55", 3 / 4, 1.0),
        ("coin_flip", entry("0.9375"), "15/16", 1.0, 1.0),
        ("coin_flip", entry("0.9375"), "1e999", 0.0, 0.0),
    ],
)
def test_what_solves_nothing_earns_nothing_except_by_upstreams_own_rule(
    verifier, dataset, entry, answer, strict, upstream
):
    reference = {"dataset": dataset, "entry": entry}
    text = f"<answer>{answer}</answer>"
    assert verifier.check(reference, text).reward == pytest.approx(strict)
    assert verifier.check(reference | {"scorer": "upstream"}, text).reward == pytest.approx(upstream)


@pytest.mark.parametrize("answer", ["1e999999999", "1e-999999999", "1e999,999,999", "1e9_9_9_9_9_9_9_9_9"])
def test_a_number_of_more_digits_than_there_is_time_for_is_wrong_at_once(verifier, answer):
    verdict = verifier.check({"dataset": "coin_flip", "entry": entry("0.9375")}, f"<answer>{answer}</answer>")
    assert (verdict.reward, verdict.outcome) == (0.0, "scored")


@pytest.mark.parametrize("task", sorted(EVALUATES_PYTHON | EVALUATES_ALGEBRA))
def test_nothing_is_evaluated_in_the_process_that_trains(verifier, task):
    with pytest.raises(UnconfinedError, match=rf"'{task}' evaluates .*VerifierPool"):
        verifier.check(reference_of(task), "<answer>1</answer>")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"dataset": "no_such_task", "entry": SUM["entry"]}, "no_such_task"),
        ({"entry": SUM["entry"]}, "dataset is None"),
        ({"dataset": "chain_sum"}, "whole entry"),
        ({"dataset": "chain_sum", "entry": {"answer": "3"}}, "whole entry"),
        ({"dataset": "lcm", "entry": entry("1"), "config": 3}, "config"),
        ({"dataset": "lcm", "entry": entry("1"), "scorer": "kind"}, "scorer of 'lcm' is 'kind'.*strict"),
        ({"dataset": "sudoku", "entry": entry("1 2")}, "KeyError"),
        ({"dataset": "time_intervals", "entry": entry("7", task_type="time")}, "the entry's own answer '7'"),
    ],
)
def test_a_broken_reference_is_the_verifiers_own_failure(verifier, reference, message):
    with pytest.raises(VerifierError, match=message):
        verifier.check(reference, "<answer>3</answer>")
