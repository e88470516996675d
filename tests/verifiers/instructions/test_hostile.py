"""Texts that nobody would write, for every instruction there is."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nemo_prorl.verifiers.instructions.registry import INSTRUCTIONS, arguments_of

CHARS = 100_000
MAX_SECONDS = 0.5
UNITS = [
    "<<",
    "[",
    "[]",
    "\n",
    "\n\n",
    " ",
    "a. ",
    "? ",
    "a",
    "é",
    "* ",
    "*\n",
    "-\n",
    "**",
    ".",
    ". . ",
    ".)",
    '"',
    "'a",
]
ARGUMENTS = {
    "keywords": ["a" * 40 + "b"],
    "keyword": "aab",
    "forbidden_words": ["a a"],
    "keyword1": "a",
    "keyword2": "b",
    "frequency": 2,
    "let_frequency": 3,
    "capital_frequency": 3,
    "N": 2,
    "small_n": 2,
    "num_sentences": 3,
    "num_paragraphs": 2,
    "nth_paragraph": 2,
    "num_words": 3,
    "num_placeholders": 3,
    "num_bullets": 2,
    "num_highlights": 2,
    "num_sections": 3,
    "section_spliter": "Section",
    "postscript_marker": "P.S.",
    "relation": "at least",
    "let_relation": "less than",
    "capital_relation": "at least",
    "letter": "a",
    "language": "en",
    "first_word": "a",
    "last_word": "a",
    "end_phrase": "bye",
    "prompt_to_repeat": "a b",
    "phrase": "a b c",
}
PIECES = st.sampled_from(
    [*UNITS, "Section 1", "P.S.", "```json", "{", "}", "<<x>>", "NASA's", "\x00", "\ud800", "हि", "1."]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=40).map("".join), st.text(max_size=200))


def is_followed(name, text):
    return INSTRUCTIONS[name](text, **{argument: ARGUMENTS[argument] for argument in arguments_of(name)})


@pytest.fixture(scope="module", autouse=True)
def _detector_is_loaded():
    is_followed("language:response_language", "hello")


def seconds_taken(name, text):
    """Of the processor by this thread, so that neither a busy machine nor another test's threads matter."""
    begun = time.thread_time()
    is_followed(name, text)
    return time.thread_time() - begun


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("ends", [("", ""), ("b ", " b")], ids=["alone", "between_words"])
def test_a_long_repetition_takes_no_time(unit, ends):
    text = f"{ends[0]}{unit * (CHARS // len(unit))}{ends[1]}"
    slow = {name: taken for name in INSTRUCTIONS if (taken := seconds_taken(name, text)) > MAX_SECONDS}
    assert not slow


@settings(max_examples=100, deadline=None)
@given(TEXTS)
def test_every_check_decides_on_every_text_and_always_alike(text):
    first = {name: is_followed(name, text) for name in INSTRUCTIONS}
    assert all(type(decision) is bool for decision in first.values())
    assert first == {name: is_followed(name, text) for name in reversed(INSTRUCTIONS)}
