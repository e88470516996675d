"""A large file is checked once; its index is believed only while it belongs to the file's content."""

import json
import os
import random
from collections import Counter

import numpy as np
import pytest

from nemo_prorl.data.sources import line_index, lines
from nemo_prorl.data.sources.jsonl import JsonlSource, RowFormat
from nemo_prorl.errors import DataError


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def rows_of(n, text="?"):
    domains = ("math", "stem", "code")
    return [{"uid": f"u{i}", "problem": f"{i}{text}", "answer": i, "domain": domains[i % 7 % 3]} for i in range(n)]


@pytest.fixture(autouse=True)
def every_file_is_large(monkeypatch, tmp_path):
    monkeypatch.setattr(lines, "KEPT_FROM_BYTES", 0)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def checks(monkeypatch):
    """How many rows have been checked, from here on."""
    counted = Counter()
    checked = RowFormat.tags

    def count(self, where, raw):
        counted["rows"] += 1
        return checked(self, where, raw)

    monkeypatch.setattr(RowFormat, "tags", count)
    return counted


def everything(source):
    numbers = {domain: list(numbers) for domain, numbers in source.domains.items()}
    return source.size, source.tasks, numbers, [source.row(i) for i in range(source.size)]


def test_a_second_start_reads_no_row_and_has_the_same(tmp_path, checks):
    path = tmp_path / "rows.jsonl"
    path.write_text("\n" + "".join(json.dumps(row) + "\n\n" for row in rows_of(50)))
    first = everything(JsonlSource("f", path=str(path)))
    assert checks["rows"] == 50
    assert everything(JsonlSource("f", path=str(path))) == first
    assert checks["rows"] == 50
    with pytest.raises(DataError, match=r"rows\.jsonl has rows 0 to 49; row 50"):
        JsonlSource("f", path=str(path)).row(50)


def test_the_index_is_mapped_and_not_read(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, rows_of(50))
    JsonlSource("f", path=str(path))
    assert isinstance(JsonlSource("f", path=str(path))._rows._offsets, np.memmap)


def test_other_settings_have_another_index(tmp_path, checks):
    path = tmp_path / "rows.jsonl"
    write(path, [{"problem": "1?", "answer": 1}])
    assert set(JsonlSource("f", path=str(path), domain="math").domains) == {"math"}
    assert set(JsonlSource("f", path=str(path), domain="stem").domains) == {"stem"}
    assert checks["rows"] == 2
    with pytest.raises(DataError, match="'domain' is missing"):
        JsonlSource("f", path=str(path))


def test_a_changed_file_is_checked_again(tmp_path, checks):
    path = tmp_path / "rows.jsonl"
    write(path, rows_of(5))
    JsonlSource("f", path=str(path))
    status = path.stat()
    write(path, rows_of(5, text="!"))  # of the same size
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1))
    assert JsonlSource("f", path=str(path)).row(3).messages[0]["content"] == "3!"
    write(path, rows_of(6))
    assert JsonlSource("f", path=str(path)).size == 6
    assert checks["rows"] == 5 + 5 + 6


def test_a_copy_with_another_time_and_the_same_content_keeps_its_index(tmp_path, checks):
    path = tmp_path / "rows.jsonl"
    write(path, rows_of(5))
    JsonlSource("f", path=str(path))
    os.utime(path, ns=(1, 1))
    for _ in range(2):
        assert JsonlSource("f", path=str(path)).size == 5
    assert checks["rows"] == 5


def test_a_broken_index_is_made_again(tmp_path, checks):
    path = tmp_path / "rows.jsonl"
    write(path, rows_of(50))
    first = everything(JsonlSource("f", path=str(path)))
    (index,) = tmp_path.glob(".rows.jsonl.*.index")
    whole, rng = index.read_bytes(), random.Random(0)
    for length in (0, 3, 8, 100, len(whole) - 1):
        index.write_bytes(whole[:length])
        assert everything(JsonlSource("f", path=str(path))) == first
    index.write_bytes(rng.randbytes(len(whole)))
    assert everything(JsonlSource("f", path=str(path))) == first
    assert index.read_bytes() == whole


def test_where_the_datas_folder_is_closed_the_index_lies_in_the_cache(tmp_path, checks, monkeypatch):
    path = tmp_path / "data" / "rows.jsonl"
    path.parent.mkdir()
    write(path, rows_of(5))
    saved = line_index._save
    monkeypatch.setattr(line_index, "_save", lambda file, index: file.parent != path.parent and saved(file, index))
    for _ in range(2):
        assert JsonlSource("f", path=str(path)).size == 5
    assert checks["rows"] == 5
    assert [file.parent.name for file in tmp_path.rglob("*.index")] == ["indexes"]


def test_where_nothing_can_be_written_every_start_reads_the_file(tmp_path, checks, monkeypatch, caplog):
    path = tmp_path / "rows.jsonl"
    write(path, rows_of(5))
    monkeypatch.setattr(line_index, "_save", lambda file, index: False)
    for _ in range(2):
        assert JsonlSource("f", path=str(path)).size == 5
    assert checks["rows"] == 10
    assert "its index can't be kept" in caplog.text


def test_a_wrong_row_is_named_and_leaves_no_index(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, [*rows_of(5), {"problem": "1?"}])
    for _ in range(2):
        with pytest.raises(DataError, match=r"rows\.jsonl:6: 'domain' is missing"):
            JsonlSource("f", path=str(path))
    assert not list(tmp_path.glob(".rows*"))


def test_the_first_uid_that_comes_again_is_named(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, [*rows_of(9), rows_of(9)[7], rows_of(9)[2]])
    with pytest.raises(DataError, match=r"rows\.jsonl:10: uid 'u7' was given to .*rows\.jsonl:8"):
        JsonlSource("f", path=str(path))


def test_a_file_that_changes_under_a_run_is_an_error(tmp_path):
    path = tmp_path / "rows.jsonl"
    write(path, rows_of(5))
    source = JsonlSource("f", path=str(path))
    write(path, rows_of(4))
    with pytest.raises(DataError, match=r"rows\.jsonl has changed since it was opened"):
        source.row(0)


def test_a_small_file_has_no_index_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(lines, "KEPT_FROM_BYTES", 1 << 20)
    path = tmp_path / "rows.jsonl"
    write(path, rows_of(5))
    assert JsonlSource("f", path=str(path)).size == 5
    assert [file.name for file in tmp_path.iterdir()] == ["rows.jsonl"]
