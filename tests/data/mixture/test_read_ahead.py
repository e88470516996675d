"""Reading ahead changes when rows are read, and nothing else; prompts that are put back come again."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from nemo_prorl.data.mixture import Mixture
from nemo_prorl.data.sources.jsonl import JsonlSource
from nemo_prorl.errors import DataError


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "rows.jsonl"
    rows = [{"problem": f"{i}?", "answer": i, "domain": ("math", "stem")[i % 3 == 0]} for i in range(50)]
    file.write_text("\n".join(map(json.dumps, rows)))
    return str(file)


def mixture_of(path, tokenizer, executor=None, **settings):
    settings = {"seed": 3, "max_prompt_tokens": 99} | settings
    return Mixture({"a": (JsonlSource("a", path=path), 1.0)}, tokenizer, executor=executor, **settings)


def test_prompts_are_the_same_whether_they_were_read_ahead_or_not(path, tokenizer):
    plain = mixture_of(path, tokenizer)
    with ThreadPoolExecutor(1) as executor:
        for wait in (True, False):
            ahead = mixture_of(path, tokenizer, executor)
            plain.load_state_dict(ahead.state_dict())
            for n in (7, 1, 20, 7, 33, 2):
                assert ahead.draw(n) == plain.draw(n)
                if wait:
                    ahead.ahead.wait()
            assert ahead.state_dict() == plain.state_dict()


def test_what_was_read_ahead_is_not_read_again(path, tokenizer):
    reads = []

    class Counted(JsonlSource):
        def row(self, index):
            reads.append(index)
            return super().row(index)

    with ThreadPoolExecutor(1) as executor:
        source = Counted("a", path=path)
        mixture = Mixture({"a": (source, 1.0)}, tokenizer, seed=3, max_prompt_tokens=99, executor=executor)
        mixture.draw(10)
        mixture.ahead.wait()
        before = len(reads)
        mixture.draw(8)
        assert len(reads) == before


def test_a_source_that_does_not_say_so_is_never_read_in_another_thread(list_source, tokenizer):
    with ThreadPoolExecutor(1) as executor:
        source = list_source([f"{i}?" for i in range(9)])
        mixture = Mixture({"a": (source, 1.0)}, tokenizer, seed=3, max_prompt_tokens=99, executor=executor)
        mixture.draw(3)
        assert mixture.ahead._job is None


def test_a_row_that_fails_fails_when_it_is_drawn(path, tokenizer):
    class Broken(JsonlSource):
        def row(self, index):
            if index == 7:
                raise DataError("row 7 is gone")
            return super().row(index)

    with ThreadPoolExecutor(1) as executor:
        source = Broken("a", path=path)
        mixture = Mixture({"a": (source, 1.0)}, tokenizer, seed=3, max_prompt_tokens=99, executor=executor)
        with pytest.raises(DataError, match="row 7 is gone"):
            for _ in range(60):
                mixture.draw(1)
                mixture.ahead.wait()


@pytest.mark.parametrize("n", [1, 4, 9, 10])
def test_prompts_that_are_put_back_come_again_with_all_that_follows(path, tokenizer, n):
    """10 drawn, n put back: as if 10 - n had been drawn; across epochs, with prompts left out and repeated."""
    settings = {"objection": lambda prompt: "no" if prompt.messages[0]["content"] == "8?" else None}
    one, other = (mixture_of(path, tokenizer, **settings) for _ in range(2))
    for _ in range(15):
        one.draw(10)
        one.put_back(n)
        if n < 10:
            other.draw(10 - n)
    assert one.state_dict() == other.state_dict()
    assert one.draw(5) == other.draw(5)


def test_only_the_last_draw_can_be_put_back(path, tokenizer):
    mixture = mixture_of(path, tokenizer)
    mixture.draw(3)
    for n in (0, 4):
        with pytest.raises(ValueError, match=f"put_back: {n} prompts, but the last draw has 3"):
            mixture.put_back(n)
