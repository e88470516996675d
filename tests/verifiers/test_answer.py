"""Cutting the final answer out of a response."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reasoning_gym.utils import extract_answer

from nemo_prorl.data.boxed import last_boxed
from nemo_prorl.verifiers.answer import after_reasoning, last_program, last_tagged

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


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("no reasoning at all", "no reasoning at all"),
        ("<think>a</think>b", "b"),
        ("a</think>b", "b"),  # the prompt ended with <think>
        ("<think>a</think>b</think>c", "c"),
        ("<think>a", None),
        ("<think>a</think>b<think>c", None),
        ("", ""),
    ],
)
def test_the_answer_is_what_follows_the_reasoning(text, answer):
    assert after_reasoning(text) == answer


@pytest.mark.parametrize(
    ("text", "answer"), [("a</think>b", "b"), ("a", None), ("", None), ("a</think>b<think>", None)]
)
def test_reasoning_that_the_prompt_has_begun_must_end(text, answer):
    assert after_reasoning(text, begun=True) == answer


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("```python\na\nb\n```", "a\nb\n"),
        ("```py\na\n```", "a\n"),
        ("```Python3\na\n```", "a\n"),
        ("```python3.11\na\n```", "a\n"),
        ("So: ```python\nif a:\n    b\n```", "if a:\n    b\n"),
        ("1. ```python\n   if a:\n       b\n   ```", "if a:\n    b\n"),
        ("```python\n# not ```python\na\n```", "# not ```python\na\n"),
        ("```python `a`\na\n", None),
        ("```\na\n```", "a\n"),
        ("text\n\n````python title=a\na\n````\ntext", "a\n"),
        ("```python\na\n```\nor\n```python\nb\n```", "b\n"),
        ("```python\na\n```\nprints\n```\n3\n```", "a\n"),  # sample output is no program
        ("```python\na\n```\nprints\n```text\n3\n```", "a\n"),
        ("```cpp\na\n```", None),
        ("```python\na", "a"),
        ("```python\na\n\nBetter:\n```python\nb\n```", "b\n"),
        ("```\na\n```python\nb\n```", "b\n"),
        ("1. So:\n   ```python\n   if a:\n       b\n\n   c\n   ```", "if a:\n    b\n\nc\n"),
        ("```python\r\na\r\n```\r\n", "a\r\n"),
        ("```python\n```", ""),
        ("```python\na(\n ``` \n)", "a(\n"),  # as anywhere else, a fence ends a block
        ("Use `a` or ```a```, please", None),
        ("print(3)", None),
        ("", None),
    ],
)
def test_the_last_python_block_is_the_program(text, program):
    assert last_program(text) == program


@pytest.mark.parametrize(
    "unit",
    [
        *(
            "<answer>",
            "</answer>",
            "\\boxed{",
            "\\boxed ",
            "{",
            "}",
            "\\",
            "\\boxed{1}",
            "`",
            "``` ",
            "```\n",
            "```python\n",
        ),
        *("<think>", "</think>", " ", "\n", "```a\n"),
    ],
)
def test_cutting_takes_one_pass(unit):
    """A megabyte of any of these takes well below a second; a search from every tag on would take minutes."""
    text = unit * ((1 << 20) // len(unit))
    begun = time.perf_counter()
    last_tagged(text)
    last_boxed(text)
    last_program(text)
    after_reasoning(text)
    assert time.perf_counter() - begun < 5
