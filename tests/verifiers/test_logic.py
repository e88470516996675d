"""reasoning-gym's scorers, on answers in tags."""

import json

import pytest
import reasoning_gym

from nemo_prorl.errors import VerifierError
from nemo_prorl.verifiers.logic import MAX_ANSWER_CHARS, LogicVerifier

TASKS = ["chain_sum", "spell_backward", "countdown", "n_queens", "simple_integration", "arc_agi", "rearc", "sudoku"]
SUM = {"dataset": "chain_sum", "entry": {"question": "1 + 2 =", "answer": "3", "metadata": {}}}


@pytest.fixture(scope="module")
def verifier():
    return LogicVerifier()


def reference_of(task, **config):
    """An entry as a prompt carries it: through JSON, so without tuples."""
    entry = reasoning_gym.create_dataset(task, seed=3, size=1, **config)[0]
    return json.loads(json.dumps({"dataset": task, "entry": entry, "config": config}))


# arc_agi leaves its data files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("task", TASKS)
def test_the_right_answer_is_worth_1(verifier, task):
    reference = reference_of(task)
    verdict = verifier.check(reference, f"Thinking.\n<answer>{reference['entry']['answer']}</answer> Done.")
    assert (verdict.reward, verdict.outcome) == (1.0, "scored")


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


def test_an_endless_answer_is_not_read(verifier):
    verdict = verifier.check(SUM, "<answer>" + "3" * (MAX_ANSWER_CHARS + 1) + "</answer>")
    assert (verdict.reward, verdict.outcome) == (0.0, "scored")
    assert str(MAX_ANSWER_CHARS) in verdict.reason


def test_an_answer_that_breaks_its_scorer_is_wrong(verifier):
    """prime_factorization reads whole numbers and raises ValueError on anything else."""
    verdict = verifier.check(reference_of("prime_factorization"), "<answer>two times three</answer>")
    assert (verdict.reward, verdict.outcome) == (0.0, "scored")
    assert "ValueError" in verdict.reason


def test_a_reward_that_is_no_number_is_none(verifier):
    """complex_arithmetic compares the answer as a number, so "nan" must not pay more than a wrong one."""
    assert 0.0 <= verifier.check(reference_of("complex_arithmetic"), "<answer>nan</answer>").reward <= 1.0


@pytest.mark.parametrize(
    ("task", "program"),
    [
        ("n_queens", "open({file!r}, 'w')"),
        ("spiral_matrix", "[open({file!r}, 'w')]"),
        ("binary_matrix", "__import__('pathlib').Path({file!r}).touch()"),
        ("string_insertion", "[str(open({file!r}, 'w'))]"),
        ("countdown", "open({file!r}, 'w')"),
        ("puzzle24", "open({file!r}, 'w').fileno()"),
        ("simple_integration", "open({file!r}, 'w')"),
        ("intermediate_integration", 'exec(\'open("{file}", "w")\')'),
        ("polynomial_multiplication", "open({file!r}, 'w')"),
    ],
)
def test_an_answer_is_never_executed(verifier, task, program, tmp_path):
    file = tmp_path / "written"
    verdict = verifier.check(reference_of(task), f"<answer>{program.format(file=str(file))}</answer>")
    assert not file.exists()
    assert verdict.reward <= 0.05 and verdict.outcome == "scored"


def test_matrices_written_as_lists_keep_their_credit(verifier):
    """spiral_matrix pays 0.1 for a Python list of the right numbers."""
    reference = reference_of("spiral_matrix")
    as_list = str(reference["entry"]["answer"].split())
    assert verifier.check(reference, f"<answer>{as_list}</answer>").reward == pytest.approx(0.1)


def test_a_scorer_may_look_at_the_settings_an_entry_was_made_with(verifier):
    """puzzle24 refuses numbers outside of min_value to max_value, 1 to 10 by default."""
    reference = {
        "dataset": "puzzle24",
        "entry": {"question": "Make 24 of 8, 8, 4, 4", "answer": "8 + 8 + 4 + 4", "metadata": {}},
    }
    assert verifier.check(reference, "<answer>4 + 4 + 8 + 8</answer>").reward == 1.0
    with pytest.raises(VerifierError, match=r"settings that reference\.config doesn't tell"):
        verifier.check(reference | {"config": {"max_value": 6}}, "<answer>4 + 4 + 8 + 8</answer>")


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ({"dataset": "no_such_task", "entry": SUM["entry"]}, "no_such_task"),
        ({"entry": SUM["entry"]}, "dataset is None"),
        ({"dataset": "chain_sum"}, "whole entry"),
        ({"dataset": "chain_sum", "entry": {"answer": "3"}}, "whole entry"),
        ({"dataset": "countdown", "entry": {"question": "", "answer": "1", "metadata": {}}, "config": 3}, "config"),
        ({"dataset": "sudoku", "entry": {"question": "", "answer": "1 2", "metadata": {}}}, "KeyError"),
        ({"dataset": "countdown", "entry": {"question": "", "answer": "1", "metadata": {}}}, "0.01 to the entry's own"),
    ],
)
def test_a_broken_reference_is_the_verifiers_own_failure(verifier, reference, message):
    with pytest.raises(VerifierError, match=message):
        verifier.check(reference, "<answer>3</answer>")
