"""Rows as passes see them."""

from collections.abc import Callable

import pytest

from nemo_prorl.data.prompt import Row


@pytest.fixture
def row() -> Callable[..., Row]:
    def make(question: str, uid: str = "u", domain: str = "math", reference=None, metadata=None) -> Row:
        messages = ({"role": "user", "content": question},)
        reference = {"answer": "1"} if reference is None else reference
        return Row(uid, domain, "task", "source", messages, domain, reference, metadata or {})

    return make
