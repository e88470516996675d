"""Samples as a page carries them: all of them while they are light, as much of them as its budget allows else."""

import gzip
import json
import random
from base64 import b64decode

import pytest

from nemo_prorl.analysis.samples import CHUNK, LIMITS, Samples, cut, pack_samples, samples_of_run
from tests.analysis.example_run import HOSTILE, write_run


def unpacked(text):
    return json.loads(gzip.decompress(b64decode(text)))


def rows_of(packed):
    """Each answer as (step, prompt, response), looked up as the page looks it up."""
    index, chunks = unpacked(packed.index), [unpacked(chunk) for chunk in packed.chunks]
    for at in range(index["count"]):
        chunk = chunks[at // index["chunk"]]
        prompt, response, *_ = chunk["rows"][at % index["chunk"]]
        yield index["step"][at], chunk["prompts"][prompt], response


def answers(count, *, letters, seed=0):
    """Random letters, which hardly pack at all."""
    source = random.Random(seed)
    rows = [
        {
            "step": count - number,
            "prompt": "the same for all",
            "response": "".join(source.choices("abcdefghijklmnop", k=letters)),
        }
        for number in range(count)
    ]
    return Samples("training", lambda: rows)


def test_everything_of_a_light_run_is_there_in_the_order_of_steps(tmp_path):
    packed = pack_samples(samples_of_run(write_run(tmp_path / "run")), budget=1_000_000)
    index = unpacked(packed.index)
    assert (index["count"], index["total"], index["cut"]) == (91, 91, 0)
    assert index["step"] == sorted(index["step"])
    assert index["from"]["names"] == ["training", "validation: exam"]
    responses = [response for _, _, response in rows_of(packed)]
    assert [text for text in HOSTILE if text not in responses] == []


def test_a_prompt_that_many_share_stands_there_once():
    packed = pack_samples([answers(10, letters=5)], budget=1_000_000)
    assert unpacked(packed.chunks[0])["prompts"] == ["the same for all"]
    assert [step for step, *_ in rows_of(packed)] == list(range(1, 11))


def test_texts_are_cut_as_little_as_the_budget_asks_for():
    """1,000 answers of 2,500 letters, about 0.7 letters of base64 each: 800 kB hold them when each keeps 1,000."""
    packed = pack_samples([answers(1000, letters=2500)], budget=800_000)
    index = unpacked(packed.index)
    assert packed.size <= 800_000
    assert (index["count"], index["limit"], index["cut"]) == (1000, 1000, 1000)
    assert len(packed.chunks) == -(-1000 // CHUNK)
    for _, prompt, (head, left_out, tail) in rows_of(packed):
        assert (prompt, len(head), left_out, len(tail)) == ("the same for all", 667, 1500, 333)


def test_answers_are_left_out_evenly_when_cutting_is_not_enough():
    packed = pack_samples([answers(1000, letters=2500)], budget=100_000)
    index = unpacked(packed.index)
    assert packed.size <= 100_000
    assert index["limit"] == LIMITS[-1] and index["total"] == 1000
    assert index["step"] == list(range(1, 1001, 1000 // index["count"]))


def test_no_budget_at_all_still_gives_a_page():
    packed = pack_samples([answers(50, letters=100)], budget=10)
    assert unpacked(packed.index)["count"] == 0 and packed.chunks == []
    assert unpacked(pack_samples([], budget=1000).index)["total"] == 0


def test_a_record_that_lacks_almost_everything_is_shown_with_what_it_has():
    packed = pack_samples([Samples("old", lambda: [{"step": 3, "reward": None, "response": "hello"}])], budget=10_000)
    index = unpacked(packed.index)
    assert list(rows_of(packed)) == [(3, "", "hello")]
    assert index["domain"]["names"] == ["unknown"] and index["reward"] == [0]


@pytest.mark.parametrize("limit", [1, 2, 3, 10, 11, 12])
def test_what_is_cut_is_counted(limit):
    text = "abcdefghijkl"
    found = cut(text, limit)
    head, left_out, tail = found if isinstance(found, tuple) else (found, 0, "")
    assert len(head) + left_out + len(tail) == 12 and len(head) + len(tail) == min(limit, 12)
    assert text.startswith(head) and text.endswith(tail)
    assert cut(cut(text, 11), limit) == found or limit > 11, "cutting twice is cutting once"
