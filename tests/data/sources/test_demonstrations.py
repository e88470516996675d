"""Answers to imitate: right ones worked out step by step, hasty ones on purpose, and rows of a file."""

import json

import pytest
import reasoning_gym

from nemo_prorl.data.sources.base import first_of_each_task
from nemo_prorl.data.sources.demonstrations import (
    DEMONSTRATIONS,
    Demonstration,
    JsonlDemonstrations,
    ReasoningGymDemonstrations,
    bit_steps,
    encode_demonstration,
    gcd_steps,
    lcm_steps,
    product_steps,
    sum_steps,
)
from nemo_prorl.data.sources.reasoning_gym import ReasoningGymSource
from nemo_prorl.errors import ConfigError, DataError
from nemo_prorl.plugins import configured
from nemo_prorl.quickstart.tiny_model import LEARNING_TASKS

TASKS = {task: dict(knobs) for task, knobs in LEARNING_TASKS.items()} | {
    "chain_sum": {"min_terms": 2, "max_terms": 4, "min_digits": 1, "max_digits": 2},
    "gcd": {"min_value": 1, "max_value": 40},
}


def questions(source, count):
    return {source.row(index).messages[-1]["content"] for index in range(count)}


@pytest.mark.parametrize(
    ("steps", "metadata", "wanted"),
    [
        (lcm_steps, {"numbers": [4, 6]}, "6,12"),
        (lcm_steps, {"numbers": [5, 5]}, "5"),
        (lcm_steps, {"numbers": [2, 3, 4]}, "4,8,12"),
        (product_steps, {"expression": "7 * 4"}, "7,14,21,28"),
        (product_steps, {"expression": "7 * 0"}, ""),
        (product_steps, {"expression": "3 * 2 * 2"}, "3,6;6,12"),
        (bit_steps, {"number": 6}, "6:0,3:1,1:1"),
        (sum_steps, {"expression": "3 + 4 - 9"}, "3+4=7;7-9=-2"),
        (sum_steps, {"expression": "5"}, ""),
        (gcd_steps, {"numbers": [12, 18]}, "18%12=6;12%6=0"),
        (gcd_steps, {"numbers": [8, 12, 6]}, "12%8=4;8%4=0;6%4=2;4%2=0"),
    ],
)
def test_steps_are_worked_out_from_the_problems_own_data(steps, metadata, wanted):
    assert steps(metadata) == wanted


@pytest.mark.parametrize("task", sorted(TASKS))
def test_every_careful_response_is_right_and_its_last_step_is_why(task):
    """By reasoning-gym's own scorer. The answer is the last number of the steps (for bits: the sum of the marks)."""
    demonstrations = ReasoningGymDemonstrations(tasks={task: TASKS[task]}, seed=5)
    source = ReasoningGymSource(tasks={task: TASKS[task]}, seed=5)
    score = reasoning_gym.get_score_answer_fn(task)
    for index in range(60):
        demonstration, row = demonstrations.row(index), source.row(index)
        assert demonstration.messages == row.messages
        steps, _, answer = demonstration.response.removesuffix("</answer>").partition("</think><answer>")
        assert score(answer, row.reference["entry"]) == 1.0
        if task == "count_bits":
            assert sum(int(step.partition(":")[2]) for step in steps.split(",")) == int(answer)
        elif task in ("lcm", "products") and steps:
            assert steps.split(",")[-1] == answer
        elif task == "chain_sum":
            assert steps.rpartition("=")[2] == answer


def test_hasty_demonstrations_skip_the_thinking_and_answer_another_problem():
    """70 % of 500 within 5 standard errors; another problem of lcm can have the same answer, mostly it hasn't."""
    demonstrations = ReasoningGymDemonstrations(tasks={"lcm": TASKS["lcm"]}, seed=1, hasty_fraction=0.7)
    source = ReasoningGymSource(tasks={"lcm": TASKS["lcm"]}, seed=1)
    hasty = [i for i in range(500) if demonstrations.row(i).response.startswith("</think>")]
    assert abs(len(hasty) / 500 - 0.7) < 5 * (0.7 * 0.3 / 500) ** 0.5
    right = sum(f">{source.row(i).reference['entry']['answer']}<" in demonstrations.row(i).response for i in hasty)
    assert right < 0.2 * len(hasty)


def test_the_same_number_gives_the_same_demonstration():
    one, other = (ReasoningGymDemonstrations(tasks=TASKS, seed=1, hasty_fraction=0.5) for _ in range(2))
    for _ in range(20):
        one.row(0)
    assert [one.row(i) for i in range(50)] == [other.row(i) for i in reversed(range(50))][::-1]
    assert one.row(3) != ReasoningGymDemonstrations(tasks=TASKS, seed=2, hasty_fraction=0.5).row(3)


def test_held_out_problems_are_never_demonstrated():
    """24 of 100 products are held out: without the exclusion a few hundred demonstrations would meet nearly all."""
    tasks = {"products": TASKS["products"]}
    validation = ReasoningGymSource(tasks=tasks, seed=999)
    held_out = {row.messages[0]["content"] for row in first_of_each_task(validation, 24)}
    shown = ReasoningGymDemonstrations(tasks=tasks, held_out_seed=999, held_out_per_task=24)
    assert len(held_out) == 24
    assert not questions(shown, 400) & held_out
    assert questions(ReasoningGymDemonstrations(tasks=tasks), 400) & held_out


def test_a_size_bounds_the_problems_of_a_task():
    assert len(questions(ReasoningGymDemonstrations(tasks={"gcd": TASKS["gcd"]}, size=10), 300)) <= 10


def test_holding_out_everything_is_an_error_and_not_a_hang():
    tasks = {"count_bits": {"min_n": 1, "max_n": 4}}
    with pytest.raises(DataError, match="nearly all problems of task 'count_bits' are held out"):
        ReasoningGymDemonstrations(tasks=tasks, held_out_seed=1, held_out_per_task=4).row(0)


def test_a_task_that_nobody_has_worked_out_is_refused():
    with pytest.raises(ConfigError, match="how to work out 'sudoku'; choose among lcm, products"):
        ReasoningGymDemonstrations(tasks={"mine": {"name": "sudoku"}})


def test_a_demonstration_becomes_a_prompt_and_a_response_with_its_end(tokenizer):
    demonstration = Demonstration(({"role": "user", "content": "2*3?"},), "2,4,6</think><answer>6</answer>")
    prompt_ids, response_ids = encode_demonstration(tokenizer, demonstration)
    assert prompt_ids == tokenizer.render(demonstration.messages)
    text = tokenizer.decode(response_ids, skip_special=False)
    assert text == "2,4,6</think><answer>6</answer><|im_end|>"
    assert len(response_ids) == len("2,4,6") + len(["</think>", "<answer>", "6", "</answer>", "<|im_end|>"])


@pytest.fixture
def file(tmp_path):
    def write(*rows):
        path = tmp_path / "demonstrations.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return str(path)

    return write


ASK = {"role": "user", "content": "?"}


def test_a_file_gives_messages_and_responses_in_another_order_each_epoch(file):
    path = file(*[{"messages": [ASK], "response": f"r{i}"} for i in range(8)])
    rows = JsonlDemonstrations(path=path, seed=1)
    epochs = [[rows.row(epoch * 8 + i).response for i in range(8)] for epoch in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == [f"r{i}" for i in range(8)]
    assert epochs[0] != epochs[1]
    assert rows.row(0).messages == (ASK,)


def test_the_last_message_may_be_the_response(file):
    path = file({"messages": [ASK, {"role": "assistant", "content": "!"}]})
    assert JsonlDemonstrations(path=path).row(5) == Demonstration((ASK,), "!")


def test_a_demonstration_of_a_file_knows_its_line_and_one_made_on_the_fly_none(file):
    rows = JsonlDemonstrations(path=file({"messages": [ASK], "response": "!"}))
    assert rows.size == 1
    assert rows.row(0).where.endswith("demonstrations.jsonl:1")
    made = ReasoningGymDemonstrations(tasks={"lcm": {}}, size=3)
    assert made.size is None
    assert made.row(0).where == ""


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"response": "!"}, "'messages' is missing"),
        ({"messages": [ASK]}, "needs a text as 'response'"),
        ({"messages": [ASK], "response": ""}, "needs a text as 'response'"),
        ({"messages": [ASK], "response": 3}, "needs a text as 'response'"),
        ({"messages": [ASK, {"role": "assistant", "content": "!"}], "response": "!"}, "before the response must be"),
        ({"messages": [ASK, {"role": "system", "content": "!"}], "response": "!"}, "before the response must be"),
    ],
)
def test_a_wrong_row_is_refused_at_once_with_its_line(file, row, message):
    path = file({"messages": [ASK], "response": "!"}, row)
    with pytest.raises(DataError, match=rf"demonstrations\.jsonl:2.*{message}"):
        JsonlDemonstrations(path=path)


def test_a_config_makes_them_by_name():
    made = configured({"name": "reasoning_gym", "tasks": TASKS, "hasty_fraction": 0.7}, DEMONSTRATIONS, "sft.source")()
    assert made.row(0) == ReasoningGymDemonstrations(tasks=TASKS, hasty_fraction=0.7).row(0)
    with pytest.raises(ConfigError, match=r"sft\.source\.hasty_fraction"):
        configured({"name": "reasoning_gym", "tasks": TASKS, "hasty_fraction": 2}, DEMONSTRATIONS, "sft.source")
