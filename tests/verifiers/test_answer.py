"""Cutting the final answer out of a response."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reasoning_gym.utils import extract_answer

from nemo_prorl.verifiers.answer import last_boxed, last_tagged

PIECES = st.sampled_from(["<answer>", "</answer>", "<answer", ">", " ", "\n", "\u2003", "a", "42", "</think>"])


@given(st.lists(PIECES, max_size=14).map("".join))
def test_the_tagged_answer_is_the_one_reasoning_gym_would_read(text):
    assert last_tagged(text) == extract_answer(text)


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("<answer>1</answer><answer>2</answer>", "2"),
        ("<answer>a <answer>b</answer>", "a <answer>b"),
        ("<answer>1</answer> or <answer>2", "1"),
        ("<answer>\n</answer>", ""),
        ("<ANSWER>1</ANSWER>", None),
        ("</answer>1<answer>", None),
        ("", None),
    ],
)
def test_the_last_closed_tag_holds_the_answer(text, answer):
    assert last_tagged(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1} so \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}}.", r"\frac{1}{2}"),
        (r"\boxed {3}", "3"),
        (r"\boxed{\boxed{3}}", r"\boxed{3}"),
        (r"\boxed{1}, then \boxed{2", "1"),
        (r"{ an open brace \boxed{5}", "5"),
        (r"} a closed one \boxed{5}", "5"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{\frac{1{2}}", None),
        (r"\boxed 5", None),
        (r"\fbox{5}", None),
        (r"\\boxed{5}", None),
        (r"\boxed{}", ""),
        ("5", None),
    ],
)
def test_the_last_balanced_box_holds_the_answer(text, answer):
    assert last_boxed(text) == answer


@pytest.mark.parametrize("unit", ["<answer>", "</answer>", "\\boxed{", "\\boxed ", "{", "}", "\\", "\\boxed{1}"])
def test_cutting_takes_one_pass(unit):
    """A megabyte of any of these takes well below a second; a search from every tag on would take minutes."""
    text = unit * ((1 << 20) // len(unit))
    begun = time.perf_counter()
    last_tagged(text)
    last_boxed(text)
    assert time.perf_counter() - begun < 5
