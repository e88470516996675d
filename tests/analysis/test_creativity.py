"""The creativity index of texts whose coverage can be counted by hand, in a local corpus and over HTTP."""

import json
import time

import numpy as np
import pytest

from nemo_prorl.analysis.creativity import LENGTHS, Words, creativity, dj_search, uniqueness
from nemo_prorl.analysis.infini_gram import InfiniGramCorpus
from nemo_prorl.analysis.local_corpus import LocalCorpus
from nemo_prorl.errors import ConfigError, DataError
from tests.json_server import Say, json_server

FIRST = "one two three four five six seven eight nine ten eleven twelve thirteen fourteen."
SECOND = "Let me think step by step: red green blue yellow."


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    (folder / "a.txt").write_text(FIRST)
    (folder / "deeper").mkdir()
    (folder / "deeper" / "b.jsonl").write_text(json.dumps({"text": SECOND, "url": "x"}) + "\n\n")
    return LocalCorpus(folder)


def matches(corpus, text):
    return corpus.longest_matches(Words.of(text), LENGTHS).tolist()


def test_words_are_letters_and_digits_together_and_marks_alone():
    assert Words.of("It's 3.5 x_1!  ä").words == ["It", "'", "s", "3", ".", "5", "x_1", "!", "ä"]


def test_a_span_is_looked_up_as_it_stands_in_the_text():
    assert Words.of("one,  two (three) four").span(1, 4) == ",  two (three"


def test_matches_are_counted_in_words_and_capped_at_the_largest_length(corpus):
    assert matches(corpus, "two three four") == [3, 2, 1]
    assert matches(corpus, "Two three nothing red") == [0, 1, 0, 1]  # capitals count, and the corpus has no "Two"
    assert matches(corpus, FIRST)[:4] == [12, 12, 12, 12]
    assert matches(corpus, "") == []


def test_nothing_is_found_across_documents(corpus):
    assert matches(corpus, "fourteen . Let me")[1] == 1


def test_coverage_of_a_text_half_of_which_is_copied(corpus):
    """Six words copied, "two ... seven", and six of its own: half is covered at L = 5 and 6, nothing from 7 on.
    index = (2 x 1/2 + 6 x 1) / 8 = 0.875."""
    text = "two three four five six seven mine own words not copied anywhere"
    found = uniqueness(corpus.longest_matches(Words.of(text), LENGTHS))
    assert found.tolist() == [0.5, 0.5, 1, 1, 1, 1, 1, 1]
    assert creativity([[text]], corpus, "").index.value == 0.875


def test_a_copied_text_has_index_0_and_one_without_five_words_in_a_row_has_1(corpus):
    assert creativity([[FIRST]], corpus, "").index.value == 0.0
    assert creativity([["one two three four and red green blue yellow"]], corpus, "").index.value == 1.0


def test_overlapping_spans_cover_each_word_once(corpus):
    """Spans of 5 from "one" and from "eight" on: 5 of 7 and 5 of 7, with 2 words between: 10 of 12 are covered."""
    text = "one two three four five x y eight nine ten eleven twelve"
    assert uniqueness(corpus.longest_matches(Words.of(text), LENGTHS))[0] == pytest.approx(2 / 12)


def test_the_index_is_a_mean_over_problems_with_an_interval(corpus):
    found = creativity([[FIRST, FIRST], ["all of this is quite new to anyone"]], corpus, "")
    assert found.index.value == 0.5
    assert (found.index.low, found.index.high, found.responses) == (0.0, 1.0, 3)


def by_hand(corpus_words, text_words, longest):
    """r(i) by looking everywhere."""
    found = []
    for start in range(len(text_words)):
        best = 0
        for place in range(len(corpus_words)):
            length = 0
            while (
                length < longest
                and start + length < len(text_words)
                and place + length < len(corpus_words)
                and corpus_words[place + length] == text_words[start + length]
            ):
                length += 1
            best = max(best, length)
        found.append(best)
    return found


def test_suffix_array_and_dj_search_agree_with_looking_everywhere(tmp_path):
    """On random texts over three words, where everything repeats; shards don't change it."""
    random = np.random.default_rng(0)
    documents = [random.choice(list("abc"), 30).tolist() for _ in range(4)]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps({"text": " ".join(each)}) + "\n" for each in documents))
    corpora = [LocalCorpus(tmp_path), LocalCorpus(tmp_path, words_per_shard=40)]
    joined = [" ".join(each) for each in documents]
    for _ in range(20):
        text = random.choice(list("abc"), 25).tolist()
        wanted = np.max([by_hand(document, text, max(LENGTHS)) for document in documents], axis=0)
        words = Words.of(" ".join(text))
        assert all(each.longest_matches(words, LENGTHS).tolist() == wanted.tolist() for each in corpora)
        asked = []

        def has(span, asked=asked):
            asked.append(span)
            return any(f" {span} " in f" {document} " for document in joined)

        found = dj_search(words, LENGTHS, has)
        assert (
            np.where(wanted >= min(LENGTHS), wanted, 0).tolist() == np.where(found >= min(LENGTHS), found, 0).tolist()
        )
        assert len(asked) <= 2 * len(text)


def test_a_folder_without_texts_and_a_line_without_text_are_named(tmp_path):
    with pytest.raises(DataError, match=r"there are no \.txt, \.md, \.jsonl files in it"):
        LocalCorpus(tmp_path)
    (tmp_path / "a.jsonl").write_text('{"content": "x"}\n')
    with pytest.raises(DataError, match=r'a\.jsonl:1: a line of a corpus is \{"text": "\.\.\."\}'):
        LocalCorpus(tmp_path)


class Index:
    """infini-gram's API over one text; `faults` are answered first, one a question."""

    text = f"{FIRST}\n{SECOND}"

    def __init__(self):
        self.url, self.faults, self.seen = "", [], []

    def respond(self, path, question, headers):
        assert path == "/v1", "the address as it was given"
        self.seen.append(question)
        if self.faults:
            return self.faults.pop(0)
        if question["index"] != "test_index":
            return Say.json({"error": "no such index"})
        return Say.json({"count": self.text.count(question["query"]), "approx": False})


@pytest.fixture
def api():
    index = Index()
    with json_server(index.respond) as index.url:
        yield index


def asking(api, index="test_index"):
    return InfiniGramCorpus(api.url, index, first_wait_seconds=0.001)


def test_the_api_gives_the_same_index_as_the_local_corpus(api, corpus):
    text = "two three four five six seven mine own words not copied anywhere"
    with asking(api) as remote:
        assert creativity([[text], [FIRST]], remote, "") == creativity([[text], [FIRST]], corpus, "")
    assert len(api.seen) <= 2 * (12 + 15)
    assert api.seen[0] == {"index": "test_index", "query_type": "count", "query": "two three four five six"}


def test_passing_faults_of_the_api_are_waited_out_for_as_long_as_it_says(api):
    api.faults += [Say(b"slow down", status=429, headers={"Retry-After": "0.4"}), Say(b"", status=503)]
    begun = time.monotonic()
    with asking(api) as remote:
        assert remote.count("red green") == 1
        assert remote.count("red green") == 1
    assert len(api.seen) == 3
    assert time.monotonic() - begun >= 0.4


@pytest.mark.parametrize(
    ("faults", "index", "error", "message"),
    [
        ([], "other", DataError, r"refuses: no such index \(index 'other'\)"),
        ([Say(b"no", status=400)], "test_index", DataError, "refuses: status 400: no"),
        (
            [Say(b"<html>")] * 6,
            "test_index",
            DataError,
            r"no answer that can be used: an answer that is no JSON \(6 at",
        ),
        ([Say(b"[1]")] * 6, "test_index", DataError, r"an answer without 'count', '\[1\]' \(6 attempts\)"),
        ([Say(b"", status=503)] * 6, "test_index", DataError, r"status 503 \(6 attempts\)"),
        ([Say(b"{}", status=404)], "test_index", ConfigError, r"answers 404 .*Check --infini-gram-url"),
    ],
)
def test_an_api_that_can_not_be_used_is_told(api, faults, index, error, message):
    api.faults += faults
    with asking(api, index) as remote, pytest.raises(error, match=message):
        remote.count("red")
