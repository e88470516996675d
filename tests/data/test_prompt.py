"""A prompt is a question that can be asked, or an error that says which one can't."""

from dataclasses import FrozenInstanceError, replace

import pytest

from nemo_prorl.data.prompt import Prompt
from nemo_prorl.errors import DataError

PROMPT = Prompt("a-1", "math", "sums", "file", ({"role": "user", "content": "1+1?"},), (7, 8), "math", {"answer": "2"})


def test_an_unknown_domain_is_refused_by_uid():
    with pytest.raises(DataError, match=r"'a-1': domain 'maths' is unknown; it is one of .*'math'"):
        replace(PROMPT, domain="maths")


def test_a_prompt_without_tokens_is_refused_with_its_source():
    with pytest.raises(DataError, match="'a-1' of 'file' has no tokens"):
        replace(PROMPT, token_ids=())


def test_a_prompt_cannot_be_changed():
    with pytest.raises(FrozenInstanceError):
        PROMPT.uid = "b"
