"""Problems from a file: read by line, and every slip has its path:line."""

import json

import pytest

from nemo_prorl.data.sources import SOURCES
from nemo_prorl.data.sources.jsonl import JsonlSource
from nemo_prorl.errors import ConfigError, DataError
from nemo_prorl.plugins import configured

SUM = {"problem": "1+1?", "answer": "2", "domain": "math"}


@pytest.fixture
def file(tmp_path):
    """Write rows (objects, or lines as they are) to a file; returns its path."""

    def write(*rows):
        path = tmp_path / "rows.jsonl"
        lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return str(path)

    return write


def test_a_short_row_takes_the_rest_from_the_knobs(file):
    path = file({"problem": "1+1?", "answer": 2})
    row = JsonlSource("sums", path=path, domain="math", task="easy", instruction="Box it.", system_prompt="Hi").row(0)
    assert (row.domain, row.task, row.source, row.verifier) == ("math", "easy", "sums", "math")
    assert row.reference == {"answer": "2"}
    assert row.messages == ({"role": "system", "content": "Hi"}, {"role": "user", "content": "1+1?\n\nBox it."})
    assert row.uid.startswith("easy-")


def test_a_full_row_keeps_what_it_says(file):
    messages = [{"role": "user", "content": "größer?"}]
    full = {"uid": "u", "domain": "code", "task": "t", "source": "s", "messages": messages, "verifier": "my:Own"}
    path = file(full | {"reference": {"tests": [1, None]}, "metadata": {"hard": True}})
    row = JsonlSource("file", path=path, domain="math", task="other", verifier="x", instruction="unused").row(0)
    assert (row.uid, row.domain, row.task, row.source, row.verifier) == ("u", "code", "t", "s", "my:Own")
    assert row.messages == tuple(messages)
    assert (row.reference, row.metadata) == ({"tests": [1, None]}, {"hard": True})


def test_rows_are_found_by_number_across_blank_lines_and_other_scripts(file):
    questions = ["é" * 5, "数学" * 50, "c", "🙂"]
    first, *rest = [SUM | {"problem": question} for question in questions]
    source = JsonlSource("file", path=file(first, "", "  ", *rest))
    assert source.size == 4
    assert [source.row(i).messages[0]["content"] for i in (3, 0, 2, 1)] == [questions[i] for i in (3, 0, 2, 1)]
    with pytest.raises(DataError, match=r"rows\.jsonl has rows 0 to 3; row 4"):
        source.row(4)


def test_domains_and_tasks_are_those_of_the_rows(file):
    path = file(SUM, SUM | {"domain": "stem", "task": "t", "problem": "2"}, SUM | {"problem": "3"})
    source = JsonlSource("file", path=path)
    assert {domain: list(numbers) for domain, numbers in source.domains.items()} == {"math": [0, 2], "stem": [1]}
    assert source.tasks == ("file", "t")


def test_a_prompt_may_be_messages_and_other_tools_fields_are_left_alone(file):
    path = file({"prompt": [{"role": "user", "content": "?"}], "answer": "1", "solution": "...", "data_source": "taco"})
    assert JsonlSource("file", path=path, domain="math").row(0).messages == ({"role": "user", "content": "?"},)


def test_the_uid_is_the_questions_own(file):
    one, other, same = (JsonlSource("f", path=file(SUM | {"problem": p}), task="t").row(0).uid for p in ("1", "2", "1"))
    assert one == same != other


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"problem": ', "is not JSON in UTF-8"),
        ("[1]", "is a list; a line must be a JSON object"),
        ({"answer": "2", "domain": "math"}, "needs one of 'messages', 'problem', 'prompt'; found none"),
        (SUM | {"prompt": "x"}, r"found \['problem', 'prompt'\]"),
        (SUM | {"problem": " "}, "'problem' is empty"),
        (SUM | {"problem": 3}, "'problem' must be a list of"),
        (SUM | {"domain": "maths"}, "domain 'maths' is unknown; it is one of math, code"),
        ({"problem": "1+1?", "answer": "2"}, "'domain' is missing; give it in the row, or once as a knob"),
        ({"problem": "1+1?", "domain": "math"}, "needs either 'reference' or 'answer'"),
        (SUM | {"reference": {}}, "needs either 'reference' or 'answer'"),
        (SUM | {"answer": None}, "'answer' must be a text or a number; found NoneType null"),
        (SUM | {"answer": True}, "'answer' must be a text or a number; found bool true"),
        (SUM | {"uid": 7}, "'uid' must be a text that isn't empty; found int 7"),
        (SUM | {"metadata": []}, r"'metadata' must be an object {...}; found list \[\]"),
        (SUM | {"metdata": {}}, "'metdata' is unknown. Did you mean 'metadata'"),
        ({"messages": "hi", "answer": "2", "domain": "math"}, "'messages' must be a list of"),
        ({"messages": [{"role": "user"}], "answer": "2", "domain": "math"}, "must have 'role' and 'content' alone"),
        ({"messages": [{"role": "u", "content": "?"}], "answer": "2", "domain": "math"}, "role 'u' is unknown"),
        ({"messages": [{"role": "user", "content": 1}], "answer": "2", "domain": "math"}, "content must be a text"),
        ({"messages": [{"role": "system", "content": "x"}], "answer": "2", "domain": "math"}, "the user asks nothing"),
    ],
)
def test_a_wrong_row_is_refused_at_once_with_its_line(file, row, message):
    path = file(SUM, "", row)
    with pytest.raises(DataError, match=rf"rows\.jsonl:3.*{message}"):
        JsonlSource("file", path=path)


def test_a_line_that_is_not_utf8_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_bytes(json.dumps(SUM).encode() + b'\n{"problem": "\xff"}\n')
    with pytest.raises(DataError, match=r"rows\.jsonl:2 is not JSON in UTF-8"):
        JsonlSource("file", path=str(path))


def test_a_uid_given_twice_is_refused_with_both_lines(file):
    path = file(SUM | {"uid": "a"}, SUM, SUM | {"uid": "a"})
    with pytest.raises(DataError, match=r"rows\.jsonl:3: uid 'a' was given to .*rows\.jsonl:1"):
        JsonlSource("file", path=path)


def test_a_missing_and_an_empty_file_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"data source 'f', path='nowhere\.jsonl': there is no such file"):
        JsonlSource("f", path="nowhere.jsonl")
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n \n")
    with pytest.raises(DataError, match=r"empty\.jsonl' is empty"):
        JsonlSource("f", path=str(empty))


def test_a_config_makes_it_by_name_and_checks_its_knobs(file):
    path = file(SUM)
    assert configured({"name": "jsonl", "path": path}, SOURCES, "data.sources.f")("f").row(0).source == "f"
    with pytest.raises(ConfigError, match=r"data\.sources\.f\.domain"):
        configured({"name": "jsonl", "path": path, "domain": "maths"}, SOURCES, "data.sources.f")
