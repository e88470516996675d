"""Downloaded files through `datasets`: each format, each place to go on from, each slip of a file."""

import gzip
import json
import os
import subprocess
import sys
from types import SimpleNamespace

import datasets
import pyarrow
import pyarrow.parquet
import pytest

from nemo_prorl.data.prepare import published
from nemo_prorl.data.prepare.base import Card
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prepare.published import PublishedRecords, chosen, from_folder, from_hub
from nemo_prorl.errors import DataError
from tests.data.prepare.conftest import FIXTURES
from tests.data.prepare.hub_server import hub_server
from tests.house.source import ROOT

CARD = Card(title="Some set", domain="math", licence="MIT", paper_problems=1, hub="someone/some-set")
RECORDS = [{"problem": f"number {i}?", "answer": str(i), "nested": {"n": [i]}} for i in range(7)]


def as_jsonl(path):
    path.write_text("".join(json.dumps(record) + "\n" for record in RECORDS))


def as_gzip(path):
    with gzip.open(path, "wt") as file:
        file.write("\n".join(json.dumps(record) for record in RECORDS))


def as_array(path):
    path.write_text(json.dumps(RECORDS))


def as_parquet(path):
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(RECORDS), path, row_group_size=2)


def as_saved(path):
    datasets.Dataset.from_list(RECORDS).save_to_disk(path)


FORMATS = {
    "train.jsonl": as_jsonl,
    "train.jsonl.gz": as_gzip,
    "train.json": as_array,
    "train.parquet": as_parquet,
    "train": as_saved,
}


@pytest.fixture(scope="module", params=FORMATS)
def folder(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp("downloaded")
    FORMATS[request.param](folder / request.param)
    return folder


def read(records: PublishedRecords, position=None):
    return [(record, json.loads(json.dumps(told()))) for record, told in records.start(position)]


def test_every_format_gives_the_same_records(folder):
    assert [record for record, _ in read(from_folder(CARD, folder, None))] == RECORDS


def test_reading_goes_on_from_anywhere(folder):
    whole = read(from_folder(CARD, folder, None))
    for number, (_, position) in enumerate(whole, start=1):
        rest = read(from_folder(CARD, folder, None), position)
        assert [record for record, _ in rest] == RECORDS[number:]


def test_several_files_may_have_different_columns(tmp_path):
    """`datasets` would refuse the second one, and the arguments of the third line, for not being as the first."""
    (tmp_path / "a.jsonl").write_text('{"args": [{"num": 3}]}\n{"args": null}\n{"args": [{"num": "x", "more": 1}]}\n')
    (tmp_path / "b.jsonl").write_text('{"other": 1}\n')
    found = read(from_folder(CARD, tmp_path, None))
    assert [record for record, _ in found] == [
        *({"args": [{"num": 3}]}, {"args": None}, {"args": [{"num": "x", "more": 1}]}),
        {"other": 1},
    ]
    assert [record for record, _ in read(from_folder(CARD, tmp_path, None), found[2][1])] == [{"other": 1}]


def test_a_broken_line_is_one_rejected_record_and_blank_lines_are_none(tmp_path):
    (tmp_path / "train.jsonl").write_bytes(b'{"a": 1}\n\n{"a": "\xff"}\n{"a"\n[1]\n  \n{"a": "x\xe2\x80\xa8y"}\n')
    found = [record for record, _ in read(from_folder(CARD, tmp_path, None))]
    assert found[0] == {"a": 1} and found[4] == {"a": "x\u2028y"}
    assert [isinstance(record, Rejection) and record.reason for record in found[1:4]] == [
        *("not JSON in UTF-8", "not JSON in UTF-8", "not a JSON object")
    ]


def test_an_array_keeps_the_types_of_its_values(tmp_path):
    """`datasets` would put a column of several types into quotes."""
    (tmp_path / "train.json").write_text('[{"answer": "1"}, {"answer": 2}, {"answer": null}]')
    assert [record["answer"] for record, _ in read(from_folder(CARD, tmp_path, None))] == ["1", 2, None]


def test_the_split_is_taken_where_files_name_it_and_a_pattern_chooses_others():
    there = [
        "README.md",
        ".cache/x.parquet",
        "data/train-00000-of-00002.parquet",
        "data/validation-0.parquet",
        "x.json",
    ]
    assert chosen(there, CARD, None, "here") == ["data/train-00000-of-00002.parquet"]
    assert chosen(there, CARD, "*valid*", "here") == ["data/validation-0.parquet"]
    assert chosen(["one.jsonl", "dataset_info.json"], CARD, None, "here") == ["one.jsonl"]
    with pytest.raises(DataError, match=r"here has no files that match 'none' and end in \.jsonl, .*it has"):
        chosen(there, CARD, "none", "here")


def test_a_file_that_breaks_off_says_how_far_it_was_read(tmp_path):
    as_gzip(tmp_path / "train.jsonl.gz")
    whole = (tmp_path / "train.jsonl.gz").read_bytes()
    (tmp_path / "train.jsonl.gz").write_bytes(whole[: len(whole) - 12])
    with pytest.raises(DataError, match=r"train\.jsonl\.gz can't be read after \d+ records .*it goes on"):
        read(from_folder(CARD, tmp_path, None))


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(DataError, match="of Some set isn't there"):
        from_folder(CARD, tmp_path / "missing", None)


@pytest.mark.processes
def test_the_hub_is_read_at_one_commit_and_at_that_one_ever_after(tmp_path):
    """The newest is asked for once. In a process, for the address of the hub is read at import."""
    as_parquet(tmp_path / "rows.parquet")
    llama = FIXTURES / "llama_nemotron_if" / "instruction_following.jsonl"
    files = {
        "agentica-org/DeepScaleR-Preview-Dataset": {
            "README.md": b"---",
            "deepscaler.json": (FIXTURES / "deepscaler" / "deepscaler.json").read_bytes(),
        },
        "nvidia/Llama-Nemotron-Post-Training-Dataset": {
            "RL/instruction_following/instruction_following.jsonl": llama.read_bytes(),
            "SFT/chat/chat.jsonl": b"not to be read",
        },
        "someone/some-set": {"data/train-0-of-1.parquet": (tmp_path / "rows.parquet").read_bytes()},
    }
    program = f"""
from nemo_prorl.cli import main
from nemo_prorl.data.prepare.published import from_hub
from tests.data.prepare.test_published import CARD, RECORDS, read
for _ in range(2):
    only = "only=[deepscaler,llama_nemotron_if]"
    assert main(["data", "prepare", only, "quality.own_reference=[]", {f"folder={tmp_path / 'prepared'}"!r}]) == 0
assert [record for record, _ in read(from_hub(CARD, None, None))] == RECORDS
"""
    with hub_server(files) as hub:
        settings = {"HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "home"), "HF_HUB_DISABLE_XET": "1"}
        command = [sys.executable, "-c", program]
        done = subprocess.run(
            command, cwd=ROOT, env={**os.environ, **settings}, capture_output=True, text=True, timeout=300
        )
    assert done.returncode == 0, done.stderr
    assert set(hub.newest.values()) == {1}
    assert set(hub.read) == {
        "agentica-org/DeepScaleR-Preview-Dataset@111/deepscaler.json",
        "nvidia/Llama-Nemotron-Post-Training-Dataset@111/RL/instruction_following/instruction_following.jsonl",
        "someone/some-set@111/data/train-0-of-1.parquet",
    }
    manifest = json.loads((tmp_path / "prepared" / "deepscaler.manifest.json").read_text())
    assert manifest["identity"]["origin"]["revision"] == "1" * 40
    assert manifest["files"]["deepscaler.jsonl"]["rows"] == 5


def test_a_file_of_the_hub_that_can_not_be_looked_into_is_told_as_the_hub_is(monkeypatch):
    about = SimpleNamespace(sha="1" * 40, siblings=[SimpleNamespace(rfilename="train.json")])
    monkeypatch.setattr(published.HfApi, "dataset_info", lambda *asked, **more: about)

    def broken(*asked):
        raise ConnectionError("reset by peer")

    monkeypatch.setattr(published.HfFileSystem, "open", broken)
    with pytest.raises(DataError, match=r"can't be asked for someone/some-set: ConnectionError: reset by peer"):
        from_hub(CARD, None, None)


def test_without_a_network_the_hub_says_what_to_do(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(DataError, match=r"the hub can't be asked for someone/some-set: .*`folder`"):
        from_hub(CARD, None, None)


def test_the_origin_is_the_files_themselves(folder):
    about = from_folder(CARD, folder, None).origin["files"]
    assert all(len(file["sha256"]) == 64 and file["bytes"] > 0 for file in about)
