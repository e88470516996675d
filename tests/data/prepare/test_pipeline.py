"""From records to a prepared file: counted, resumed, repeatable to the byte."""

import json
from dataclasses import dataclass, field

import pytest

from nemo_prorl.data.prepare import candidates
from nemo_prorl.data.prepare.base import EVIDENCE, Card, row_of_question
from nemo_prorl.data.prepare.passes import Rejection
from nemo_prorl.data.prepare.pipeline import Source, prepare, work_folder
from nemo_prorl.data.sources.base import question_key
from nemo_prorl.data.sources.jsonl import JsonlSource
from nemo_prorl.data.sources.parquet import ParquetSource
from nemo_prorl.errors import DataError


@dataclass
class Numbers:
    """Records 0 to `size - 1`; reading breaks off before record number `breaks_at`."""

    size: int
    breaks_at: int | None = None
    origin: str = "numbers"
    given: list[int] = field(default_factory=list)

    def start(self, position):
        for number in range(position or 0, self.size):
            if number == self.breaks_at:
                raise DataError("the line is dead")
            self.given.append(number)
            yield {"number": number}, lambda number=number: number + 1

    def findings(self):
        return {"given": self.size}


class Sums:
    """Odd numbers are no problems; 4 and 40 ask the same."""

    card = Card(title="Sums", domain="math", licence="MIT", paper_problems=1)

    def convert(self, record):
        number = record["number"]
        if number % 2:
            return Rejection("odd", str(number))
        question = "4?" if number == 40 else f"{number}?"
        return row_of_question(
            *("sums", "math", question, {"answer": str(number)}),
            instruction=None,
            system_prompt=None,
            metadata={EVIDENCE: {"number": number}},
        )


def source(records, **more):
    return Source("sums", records, Sums(), {"knob": 1}, **more)


def files_in(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def answers(path):
    return [json.loads(line)["reference"]["answer"] for line in path.read_text().splitlines()]


class NoMultiplesOf6:
    name = "six"

    def judge(self, row):
        return f"multiple of six: {row.uid}" if int(row.reference["answer"]) % 6 == 0 else None


class AtMostTheMean:
    """A pass that looks ahead: rows above the mean of all that it is shown are rejected."""

    name = "mean"

    def prepare(self, rows):
        self.seen = [int(row.reference["answer"]) for row in rows]

    def judge(self, row):
        number = row.metadata[EVIDENCE]["number"]
        return "above the mean" if number > sum(self.seen) / len(self.seen) else None


def test_what_goes_in_comes_out_or_is_counted(tmp_path):
    """20 records: 10 are odd; of the others 0, 6, 12, 18 go; of 2, 4, 8, 10, 14, 16, whose mean is 9, three stay."""
    mean = AtMostTheMean()
    manifest = prepare(source(Numbers(20)), [NoMultiplesOf6(), mean], tmp_path, form="jsonl")
    assert mean.seen == [2, 4, 8, 10, 14, 16], "what the passes before it keep"
    assert answers(tmp_path / "sums.jsonl") == ["2", "4", "8"]
    assert manifest.rejected == {"read": {"odd": 10}, "six": {"multiple of six": 4}, "mean": {"above the mean": 3}}
    assert (manifest.records, manifest.kept, manifest.rows) == (20, 3, 3)
    assert manifest.findings == {"given": 20}
    rejected = [json.loads(line) for line in (tmp_path / "sums.rejected.jsonl").read_text().splitlines()]
    assert len(rejected) == 17
    assert rejected[0] == {"step": "read", "record": 1, "reason": "odd", "detail": "1"}
    assert EVIDENCE not in (tmp_path / "sums.jsonl").read_text()
    assert JsonlSource("file", path=str(tmp_path / "sums.jsonl")).row(2).reference == {"answer": "8"}
    assert not work_folder(tmp_path, "sums").exists()


def test_a_question_is_kept_once(tmp_path):
    manifest = prepare(source(Numbers(50)), [], tmp_path, form="jsonl")
    assert manifest.rejected["same question"] == {"asked before with another reference": 1}, "4 and 40"
    assert "40" not in answers(tmp_path / "sums.jsonl")


@pytest.mark.parametrize("breaks_at", [1, 7, 13, 29])
def test_what_breaks_off_goes_on_where_it_was_and_gives_the_same_bytes(tmp_path, monkeypatch, breaks_at):
    monkeypatch.setattr(candidates, "COMMIT_RECORDS", 6)
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    prepare(source(Numbers(30)), [NoMultiplesOf6()], whole, form="jsonl")
    with pytest.raises(DataError, match="the line is dead"):
        prepare(source(Numbers(30, breaks_at)), [NoMultiplesOf6()], resumed, form="jsonl")
    half = work_folder(resumed, "sums")
    with (half / "candidates.jsonl").open("a") as file:
        file.write('{"uid": "a line that was never comm')
    rest = Numbers(30)
    prepare(source(rest), [NoMultiplesOf6()], resumed, form="jsonl")
    assert rest.given == list(range(breaks_at - breaks_at % 6, 30)), "from the last commit on"
    assert files_in(resumed) == files_in(whole)


def test_a_step_that_is_done_is_not_done_again(tmp_path):
    class Breaks(AtMostTheMean):
        def judge(self, row):
            raise DataError("no more")

    class Counting(NoMultiplesOf6):
        judged = 0

        def judge(self, row):
            Counting.judged += 1
            return super().judge(row)

    with pytest.raises(DataError, match="no more"):
        prepare(source(Numbers(20)), [Counting(), Breaks()], tmp_path, form="jsonl")
    again = Numbers(20)
    prepare(source(again), [Counting(), AtMostTheMean()], tmp_path, form="jsonl")
    assert (again.given, Counting.judged) == ([], 10)
    assert answers(tmp_path / "sums.jsonl") == ["2", "4", "8"]


def test_the_same_again_is_nothing_to_do_and_other_settings_are_refused_by_name(tmp_path):
    first = prepare(source(Numbers(20)), [], tmp_path, form="jsonl")
    again = Numbers(20)
    assert prepare(source(again), [], tmp_path, form="jsonl") == first
    assert again.given == []
    with pytest.raises(DataError, match=r"other settings \(seed was 0, is now 1\).*replace=true"):
        prepare(source(Numbers(20), seed=1), [], tmp_path, form="jsonl")
    with pytest.raises(DataError, match="origin was numbers, is now others"):
        prepare(source(Numbers(20, origin="others")), [], tmp_path, form="jsonl")
    assert prepare(source(Numbers(10)), [], tmp_path, form="jsonl", replace=True).records == 10


def test_what_is_prepared_anew_in_another_form_leaves_no_file_of_the_former(tmp_path):
    prepare(source(Numbers(20)), [], tmp_path, form="jsonl")
    prepare(source(Numbers(10)), [], tmp_path, form="parquet", replace=True)
    assert set(files_in(tmp_path)) == {"sums.parquet", "sums.rejected.jsonl", "sums.manifest.json"}


def test_what_was_begun_with_other_settings_is_refused_too(tmp_path):
    with pytest.raises(DataError, match="the line is dead"):
        prepare(source(Numbers(20, 5)), [], tmp_path, form="jsonl")
    with pytest.raises(DataError, match=r"sums was begun with other settings \(seed was 0, is now 1"):
        prepare(source(Numbers(20), seed=1), [], tmp_path, form="jsonl")
    assert prepare(source(Numbers(20), seed=1), [], tmp_path, form="jsonl", replace=True).rows == 10


def test_two_preparations_of_a_source_do_not_write_the_same_files(tmp_path):
    """The second comes while the first reads its records, and leaves them alone."""

    class Twice(Numbers):
        def start(self, position):
            with pytest.raises(DataError, match=r"sums: another process is preparing it in .*; wait for it"):
                prepare(source(Numbers(20)), [], tmp_path, form="jsonl")
            return super().start(position)

    assert prepare(source(Twice(20)), [], tmp_path, form="jsonl").rows == 10


def test_a_draw_is_the_seeds_own_keeps_the_order_and_grows_by_what_is_added(tmp_path):
    def drawn(folder, problems, seed):
        prepare(source(Numbers(400), problems=problems, seed=seed), [], tmp_path / folder, form="jsonl")
        return [int(answer) for answer in answers(tmp_path / folder / "sums.jsonl")]

    twenty, thirty, other = drawn("a", 20, 0), drawn("b", 30, 0), drawn("c", 20, 1)
    assert (len(twenty), len(thirty), len(other)) == (20, 30, 20)
    assert twenty == sorted(twenty) and set(twenty) < set(thirty) and set(twenty) != set(other)


def test_parquet_has_the_same_rows_and_the_same_bytes_each_time(tmp_path):
    for folder, form in (("a", "jsonl"), ("b", "parquet"), ("c", "parquet")):
        prepare(source(Numbers(1200)), [], tmp_path / folder, form=form)
    lines = JsonlSource("file", path=str(tmp_path / "a" / "sums.jsonl"))
    table = ParquetSource("file", path=str(tmp_path / "b" / "sums.parquet"))
    assert table.size == lines.size == 599
    assert [table.row(i) for i in range(599)] == [lines.row(i) for i in range(599)]
    assert (table.tasks, table.domains["math"][-1]) == (("sums",), 598)
    assert files_in(tmp_path / "b") == files_in(tmp_path / "c")


def test_nothing_left_is_an_error_that_says_where_the_reasons_are(tmp_path):
    with pytest.raises(DataError, match=r"sums: no problem is left for training; .* has what was rejected, and why"):
        prepare(source(Numbers(1)), [NoMultiplesOf6()], tmp_path, form="jsonl")


def test_text_that_is_no_unicode_is_rejected(tmp_path):
    class Broken(Sums):
        def convert(self, record):
            row = super().convert(record)
            return row if isinstance(row, Rejection) else type(row)(**{**vars(row), "reference": {"answer": "\ud800"}})

    with pytest.raises(DataError, match="no problem is left"):
        prepare(Source("sums", Numbers(4), Broken(), {}), [], tmp_path, form="jsonl")
    rejected = (work_folder(tmp_path, "sums") / "rejected.jsonl").read_text()
    assert rejected.count("broken Unicode") == 2


def test_a_uid_is_the_questions_own_whatever_instruction_follows():
    with_instruction, without = (
        row_of_question("s", "math", "1+1?", {}, instruction=instruction, system_prompt=None)
        for instruction in ("Box it.", None)
    )
    assert with_instruction.uid == without.uid == f"s-{question_key('1+1?')}"


def test_a_table_that_can_not_be_written_is_told_like_any_other_file(tmp_path):
    (tmp_path / "sums.parquet").mkdir()
    (tmp_path / "sums.parquet" / "taken").touch()
    with pytest.raises(DataError, match=r"sums\.parquet can't be written: .*start the same command again"):
        prepare(source(Numbers(4)), [], tmp_path, form="parquet")
    assert not [name for name in files_in(tmp_path) if "parquet" in name]


def test_a_disk_that_refuses_is_told(tmp_path):
    (tmp_path / "taken").write_text("a file where a folder should be")
    with pytest.raises(DataError, match=r"can't be written: .*start the same command again"):
        prepare(source(Numbers(4)), [], tmp_path / "taken", form="jsonl")
