"""The record files: what is written is read back exactly, and a kill costs at most the last line."""

import json
import logging
import resource
from contextlib import contextmanager

import pytest

from nemo_prorl.errors import DataError, RunFolderError
from nemo_prorl.telemetry.records import RecordFile, read_records


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run" / "metrics.jsonl"


def write(path, *steps):
    records = RecordFile(path)
    records.resume(None)
    for step in steps:
        records.append({"step": step, "kind": "train"})
    records.close()


def test_a_float_comes_back_bit_for_bit(path):
    records = RecordFile(path)
    records.resume(None)
    written = [0.1 + 0.2, 1e-300, 5e-324, -0.0, 1 / 3, 2.0**60]
    records.append({"step": 1, "kind": "train", "values": written})
    records.close()
    assert [v.hex() for v in read_records(path)[0]["values"]] == [v.hex() for v in written]


@pytest.mark.parametrize("text", ["naïve 数学 🙂", "a\nb\r\u2028c\x00", "lone \ud800 surrogate", '"\\'])
def test_any_text_comes_back(path, text):
    records = RecordFile(path)
    records.resume(None)
    records.append({"step": 1, "kind": "sample", "response": text})
    records.close()
    assert [record["response"] for record in read_records(path)] == [text]


def test_a_record_is_on_the_disk_when_append_returns(path):
    records = RecordFile(path)
    records.resume(None)
    records.append({"step": 1, "kind": "train"})
    assert path.read_text() == '{"step": 1, "kind": "train"}\n'
    records.close()


def test_resume_drops_later_steps_and_goes_on(path):
    write(path, 0, 1, 2, 2, 3)
    records = RecordFile(path)
    records.resume(2)
    records.append({"step": 3, "kind": "validation"})
    records.close()
    assert [(r["step"], r["kind"]) for r in read_records(path)] == [
        (0, "train"),
        (1, "train"),
        (2, "train"),
        (2, "train"),
        (3, "validation"),
    ]


def test_resume_without_a_step_begins_afresh(path):
    write(path, 0, 1)
    records = RecordFile(path)
    records.resume(None)
    records.close()
    assert path.read_text() == ""


@pytest.mark.parametrize(
    "torn", ['{"step": 2, "ki', '{"step": 2, "kind": "train"}', "\x00\x00", "[2]\n", '{"kind": "x"}\n']
)
def test_a_torn_line_is_named_and_left_out(path, torn, caplog):
    """The second is valid JSON but without its end of line: the next record would have been glued to it."""
    write(path, 0, 1)
    with path.open("a") as file:
        file.write(torn)
    with caplog.at_level(logging.WARNING):
        assert [r["step"] for r in read_records(path)] == [0, 1]
    assert "metrics.jsonl line 3" in caplog.text
    records = RecordFile(path)
    records.resume(5)
    records.append({"step": 2, "kind": "train"})
    records.close()
    assert [json.loads(line)["step"] for line in path.read_text().splitlines()] == [0, 1, 2]


def test_a_kill_while_truncating_leaves_the_old_file_valid(path):
    """The file beside it is half written; the next resume writes over it."""
    write(path, 0, 1, 2)
    path.with_name("metrics.jsonl.partial").write_text('{"step": 0, "ki')
    records = RecordFile(path)
    records.resume(1)
    records.close()
    assert [r["step"] for r in read_records(path)] == [0, 1]
    assert sorted(p.name for p in path.parent.iterdir()) == ["metrics.jsonl"]


def test_records_are_read_by_kind(path):
    records = RecordFile(path)
    records.resume(None)
    for kind in ("train", "reset", "train"):
        records.append({"step": 1, "kind": kind})
    records.close()
    assert len(read_records(path, "train")) == 2
    assert read_records(path.with_name("absent.jsonl")) == []


def test_appending_to_a_closed_file_says_what_to_do(path):
    with pytest.raises(DataError, match=r"resume\(\)"):
        RecordFile(path).append({"step": 1})


@contextmanager
def full_disk(limit):
    """Inside, no file may grow beyond `limit` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_is_named_with_what_to_do_and_costs_one_record(path):
    write(path, 0, 1)
    records = RecordFile(path)
    records.resume(1)
    with full_disk(path.stat().st_size + 5):
        with pytest.raises(
            RunFolderError, match=r"metrics.jsonl can't be written: File too large.*Make room"
        ) as raised:
            records.append({"step": 2, "kind": "train"})
        records.close()  # raises no second error that would hide the first
    assert raised.value.exit_code == 9
    records.resume(5)
    records.append({"step": 2, "kind": "train"})
    records.close()
    assert [r["step"] for r in read_records(path)] == [0, 1, 2]


def test_a_disk_that_is_full_at_the_start_keeps_the_record(path):
    write(path, 0, 1)
    with full_disk(5), pytest.raises(RunFolderError, match=r"metrics.jsonl can't be written"):
        RecordFile(path).resume(1)
    assert [r["step"] for r in read_records(path)] == [0, 1]


def test_a_record_where_a_folder_lies_is_refused(path):
    path.mkdir(parents=True)
    with pytest.raises(RunFolderError, match=r"metrics.jsonl can't be written: Is a directory"):
        RecordFile(path).resume(None)
