"""Problems that reasoning-gym makes in processes: the same bytes each time, none twice, none for both splits."""

import json

import pytest

from nemo_prorl.data.prepare import item_factory, reasoning_gym
from nemo_prorl.data.prepare.item_factory import ItemFactory, Job
from nemo_prorl.data.prepare.item_worker import make_item
from nemo_prorl.data.prepare.pipeline import Source, prepare
from nemo_prorl.data.prepare.reasoning_gym import PAPER_TASKS, ReasoningGymProblems, shared_out
from nemo_prorl.data.sources.base import question_key
from nemo_prorl.data.sources.jsonl import JsonlSource
from nemo_prorl.data.sources.reasoning_gym import NOT_REPRODUCIBLE, ReasoningGymSource
from nemo_prorl.errors import DataError

# Dependent on PYTHONHASHSEED; few problems; the default; another name and settings, which asks the same at times.
TASKS = {
    "ransom_note": {},
    "tower_of_hanoi": {"max_disks": 4},
    "chain_sum": {},
    "small_sums": {"name": "chain_sum", "min_terms": 2, "max_terms": 2},
}


@pytest.fixture(scope="module")
def monkeymodule():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(reasoning_gym, "CHUNK_ITEMS", 10)
        yield patch


def made(folder, processes, **knobs):
    problems = ReasoningGymProblems(tasks=TASKS, training_problems=66, validation_problems_per_task=8, **knobs)
    records = problems.records(folder / ".unfinished" / "reasoning_gym", processes)
    return prepare(Source("reasoning_gym", records, problems, {}), [], folder, form="jsonl")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, monkeymodule):
    folder = tmp_path_factory.mktemp("prepared")
    return folder, made(folder, processes=2)


def questions(path):
    return {question_key(json.loads(line)["messages"]) for line in path.read_text().splitlines()}


def test_other_processes_make_the_same_bytes(prepared, tmp_path):
    folder, _ = prepared
    made(tmp_path, processes=1)
    for name in ("reasoning_gym.jsonl", "reasoning_gym_validation.jsonl"):
        assert (tmp_path / name).read_bytes() == (folder / name).read_bytes()


def test_every_task_has_its_share_or_shares_out_what_there_is(prepared):
    """66 = 17 + 17 + 16 + 16. Towers of 3 or 4 disks on 3 or 4 pegs: 2 * (6 + 12) = 36 problems, 24 are wanted."""
    _, manifest = prepared
    found = manifest.findings
    assert [found[task]["training"] for task in ("ransom_note", "tower_of_hanoi", "chain_sum")] == [17, 17, 16]
    assert [found[task]["validation"] for task in ("ransom_note", "tower_of_hanoi", "chain_sum")] == [8, 8, 8]
    assert found["tower_of_hanoi"]["repeated"] > 0 and found["tower_of_hanoi"]["drawn_for_both"] > 0
    for name, split in (("reasoning_gym.jsonl", "training"), ("reasoning_gym_validation.jsonl", "validation")):
        assert manifest.files[name]["rows"] == sum(task[split] for task in found.values())


def test_no_problem_comes_twice_and_none_in_both(prepared):
    """Also among tasks of one data set: that is what `small_sums` has less than asked for."""
    folder, manifest = prepared
    training, validation = (questions(folder / f"reasoning_gym{split}.jsonl") for split in ("", "_validation"))
    assert not training & validation
    assert len(training) == manifest.files["reasoning_gym.jsonl"]["rows"] > 60
    assert len(validation) == manifest.files["reasoning_gym_validation.jsonl"]["rows"] > 28
    assert manifest.findings["small_sums"]["training"] < 16


def test_rows_are_those_of_the_source_that_makes_them_on_the_fly(prepared):
    folder, _ = prepared
    file = JsonlSource("reasoning_gym", path=str(folder / "reasoning_gym.jsonl"))
    rows = {row.uid: row for row in map(file.row, range(file.size)) if row.task == "small_sums"}
    live = ReasoningGymSource(
        "reasoning_gym",
        tasks={"small_sums": TASKS["small_sums"]},
        instruction="Think step by step and give the final answer within <answer> </answer> tags.",
    )
    first = live.row_of("small_sums", 0)
    assert rows[first.uid].messages == first.messages
    assert rows[first.uid].reference == first.reference
    assert "ransom_note" in NOT_REPRODUCIBLE and "ransom_note" in file.tasks


def test_items_that_are_made_already_are_not_made_again(tmp_path, monkeymodule):
    problems = ReasoningGymProblems(tasks={"chain_sum": {}}, training_problems=10, validation_problems_per_task=5)
    made_before = [record for record, _ in problems.records(tmp_path, processes=1).start(None)]
    (first, *_) = sorted((tmp_path / "items").iterdir())
    stamp = first.stat().st_mtime_ns
    again = problems.records(tmp_path, processes=1)
    assert [record for record, _ in again.start(5)] == made_before[5:]
    assert first.stat().st_mtime_ns == stamp


def test_quotas_are_the_papers():
    quotas = ReasoningGymProblems()._quotas
    assert len(PAPER_TASKS) == 96
    assert sum(quota["training"] for quota in quotas.values()) == 37_000
    assert sum(quota["validation"] for quota in quotas.values()) == 9_600
    assert {quota["training"] for quota in quotas.values()} == {385, 386}


@pytest.mark.parametrize(
    ("quota", "shared"),
    [((1, 4), ("A", "BCDE")), ((2, 3), ("AB", "CDE")), ((2, 8), ("A", "BCDE")), ((3, 2), ("ABC", "DE"))],
)
def test_validation_goes_first_and_a_small_task_is_shared_out(quota, shared):
    """Five letters are there. Of 2 and 8 wanted, validation gets 5 * 2 // 10 = 1; of 3 and 2, 5 * 3 // 5 = 3."""
    drawn = {"validation": {"a": "A", "b": "B"}, "training": {"b": "B", "c": "C", "d": "D", "e": "E"}}
    found = shared_out(drawn, {"validation": quota[0], "training": quota[1]})
    assert ("".join(found["validation"].values()), "".join(found["training"].values())) == shared


def test_an_item_is_the_same_after_whatever_was_made_before():
    alone = make_item("list_functions", "{}", 0, 7)
    for item in range(3):
        make_item("pool_matrix", "{}", 1, item)
    assert make_item("list_functions", "{}", 0, 7) == alone
    assert "question" in json.loads(alone)


def test_a_task_that_takes_for_ever_is_an_error_that_names_it(tmp_path, monkeypatch):
    """An eighth of a second isn't even enough for the process to start."""
    monkeypatch.setattr(item_factory, "SECONDS_AN_ITEM", 0.0625)
    with (
        ItemFactory(1) as factory,
        pytest.raises(DataError, match=r"items 4 to 5 of 'lcm' with {} aren't made after 0\.125 seconds"),
    ):
        factory.make([Job("lcm", {}, 0, 4, 2, str(tmp_path / "x"))], lambda job: None)


def test_a_task_that_cannot_be_made_is_an_error_that_names_it(tmp_path):
    job = Job("chain_sum", {"min_terms": -1}, 0, 0, 1, str(tmp_path / "x"))
    with (
        ItemFactory(1) as factory,
        pytest.raises(DataError, match=r"can't make 'chain_sum' with \{'min_terms': -1\}"),
    ):
        factory.make([job], lambda job: None)
