"""A real tokenizer, and a source whose rows are counted by hand."""

from collections.abc import Callable, Mapping, Sequence

import pytest

from nemo_prorl.data.prompt import Row
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.quickstart.tiny_model import make_tokenizer


@pytest.fixture(scope="session")
def tokenizer() -> Tokenizer:
    """Bytes and chat markup: 279 tokens."""
    backend = make_tokenizer()
    return Tokenizer(backend, [backend.eos_token_id])


class ListSource:
    """A source that asks the questions of a list; each asks for its own number's uid, e.g. "sums-3"."""

    def __init__(self, questions: Sequence[str], domains: Sequence[str] | str = "math", endless: bool = False) -> None:
        self.questions, self.endless = list(questions), endless
        self.domain_of = [domains] * len(self.questions) if isinstance(domains, str) else list(domains)
        self.tasks = ("sums",)
        self.size = None if endless else len(self.questions)

    @property
    def domains(self) -> Mapping[str, Sequence[int] | None]:
        if self.endless:
            return dict.fromkeys(self.domain_of)
        return {d: [i for i, mine in enumerate(self.domain_of) if mine == d] for d in dict.fromkeys(self.domain_of)}

    def row(self, index: int) -> Row:
        index %= len(self.questions)
        messages = ({"role": "user", "content": self.questions[index]},)
        return Row(f"sums-{index}", self.domain_of[index], "sums", "list", messages, "math", {"answer": str(index)})


@pytest.fixture
def list_source() -> Callable[..., ListSource]:
    return ListSource
