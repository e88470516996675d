"""Every evaluation set: from records as they are published to answers that are right, and to none that is wrong."""

import logging
from pathlib import Path

import datasets
import pytest

from nemo_prorl.data.benchmarks.sets import EVALUATION_SETS, GENERATED, PUBLISHED
from nemo_prorl.data.benchmarks.source import EvaluationSource
from nemo_prorl.data.mixture import held_out
from nemo_prorl.data.prepare.base import row_of_question
from nemo_prorl.data.quality.answers import right_response
from nemo_prorl.data.quality.contamination import Contamination
from nemo_prorl.data.sources import SOURCES
from nemo_prorl.data.sources.base import Source
from nemo_prorl.errors import ConfigError, DataError
from nemo_prorl.plugins import configured
from nemo_prorl.verifiers.pool import VerifierPool
from nemo_prorl.verifiers.rows import RowJudge

FIXTURES = Path(__file__).parents[1] / "fixtures" / "benchmarks"
BOXED = "Let's think step by step and output the final answer within \\boxed{}."

# What a model that knows the answer writes, in the order of the fixtures' records.
RIGHT = {
    "aime_2024": [r"\boxed{33}", r"\boxed{204}"],
    "aime_2025": [r"\boxed{70}", r"\boxed{920}"],
    "amc": [r"\boxed{10}", r"\boxed{142}"],
    "math_500": [r"\boxed{(3, \frac{\pi}{2})}", r"\boxed{3/4}"],
    "minerva": [r"\boxed{10^{30}}", r"\boxed{12}"],
    "olympiad_bench": [r"\boxed{3, -3}", r"\boxed{10}"],
    "apps": ["```python\nprint(sum(map(int, input().split())))\n```"],
    "codecontests": ["```python\nn = int(input())\nprint(n * (n + 1) // 2)\n```"],
    "codeforces": ["```python\nprint(input().upper())\n```"],
    "taco": ["```python\ndef double(a):\n    return 2 * a\n```"],
    "humaneval_plus": [
        "```python\ndef has_close_elements(numbers, threshold):\n    found = sorted(numbers)\n"
        "    return any(b - a < threshold for a, b in zip(found, found[1:]))\n```"
    ],
    "livecodebench": [
        "```python\nprint(sum(map(int, input().split())))\n```",
        "```python\nclass Solution:\n    def square(self, a: int) -> int:\n        return a * a\n```",
    ],
    "gpqa_diamond": [r"\boxed{9\text{ J}}", r"\boxed{\text{mitochondrion}}"],
    "ifeval": ["The old lighthouse shines all night", '"Blue"'],
}
WRONG = {
    "math": r"\boxed{1000001}",
    "stem": r"\boxed{17}",
    "code": "```python\nprint(None)\n```",
    "instruction": ", , ",
}


def folder_of(name: str) -> Path:
    is_prime = PUBLISHED[name].hub == "PRIME-RL/Eurus-2-RL-Data"
    return FIXTURES / ("prime" if is_prime else name)


@pytest.fixture
def opened(tmp_path):
    def open_set(name: str, **knobs) -> EvaluationSource:
        return EvaluationSource(name, set=name, folder=str(folder_of(name)), cache=str(tmp_path / "cache"), **knobs)

    return open_set


@pytest.fixture(scope="module")
def judge():
    with VerifierPool(workers=1, deadline_seconds=30.0, max_error_rate=1.0, min_verdicts_to_judge=1) as pool:
        yield RowJudge(pool)


def test_every_set_has_its_answers_here():
    assert set(RIGHT) == set(PUBLISHED)
    assert set(EVALUATION_SETS) == set(PUBLISHED) | set(GENERATED)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_right_answer_scores_1_and_a_wrong_one_does_not(name, opened, judge):
    source = opened(name)
    assert source.size == len(RIGHT[name])
    for number, right in enumerate(RIGHT[name]):
        row = source.row(number)
        assert (row.source, row.task, row.domain) == (name, name, PUBLISHED[name].domain)
        assert judge.objection(row) is None
        assert judge(row, f"<think>Let me see.</think> {right}").reward == 1.0
        assert judge(row, f"<think>Let me see.</think> {WRONG[row.domain]}").reward < 1.0


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_set_asks_as_the_paper_does(name, opened):
    content = opened(name).row(0).messages[-1]["content"]
    assert len(opened(name).row(0).messages) == 1
    if PUBLISHED[name].domain in ("math", "stem"):
        assert content.endswith(f"\n\n{BOXED}")
    elif PUBLISHED[name].domain == "code":
        assert "```python" in content
    assert "[ASSESS]" not in content


def test_the_instruction_and_a_system_prompt_are_ones_own_choice(opened):
    row = opened("aime_2024", instruction=None, system_prompt="Think.").row(0)
    assert row.messages[0] == {"role": "system", "content": "Think."}
    assert row.messages[1]["content"] == "Find the remainder when $7 \\cdot 11$ is divided by $44$."
    assert opened("aime_2024", instruction="Box it.").row(0).messages[0]["content"].endswith("\n\nBox it.")


def test_what_is_no_problem_is_left_out_and_told(opened, caplog):
    opened("olympiad_bench")
    assert "evaluation set olympiad_bench: 1 records are left out: 1 needs pictures" in caplog.text
    assert "evaluation set olympiad_bench has 2 problems, not the 674 it is known for" in caplog.text


def test_contests_are_chosen_by_date(opened):
    assert [row.metadata["question_id"] for row in rows(opened("livecodebench", since="2024-08-01"))] == ["3000"]
    assert [row.metadata["question_id"] for row in rows(opened("livecodebench", until="2024-08-31"))] == ["abc300_a"]
    with pytest.raises(DataError, match="livecodebench: none of the records is a problem"):
        opened("livecodebench", since="2025-01-01")


def test_dates_are_asked_of_sets_that_have_them_and_in_their_form_alone(opened, caplog):
    with pytest.raises(DataError, match="aime_2024: none of the records is a problem"):
        opened("aime_2024", until="2024-08-31")
    assert "2 without a date, which since and until ask for" in caplog.text
    with pytest.raises(ConfigError, match=r"held_out\.a\.since"):
        configured({"name": "evaluation_set", "set": "livecodebench", "since": "August"}, SOURCES, "held_out.a")


def test_a_set_that_is_made_here_is_read_from_nowhere(tmp_path):
    with pytest.raises(ConfigError, match=r"'a': folder, since say which records are read, but set='graph_color'"):
        EvaluationSource("a", set="graph_color", folder=str(tmp_path), since="2024-08-01", cache=str(tmp_path))


def rows(source: Source):
    return [source.row(number) for number in range(source.size or 0)]


def test_a_set_is_read_once_and_then_without_its_files(tmp_path):
    folder = tmp_path / "published"
    folder.mkdir()
    text = (FIXTURES / "aime_2025" / "test.jsonl").read_text()
    (folder / "test.jsonl").write_text(text)
    look = {"set": "aime_2025", "cache": str(tmp_path / "cache")}
    first = EvaluationSource("a", folder=str(folder), **look)
    (kept,) = (tmp_path / "cache").iterdir()
    stamp = kept.stat().st_mtime_ns
    assert rows(EvaluationSource("b", folder=str(folder), **look)) == rows(first)
    assert kept.stat().st_mtime_ns == stamp
    (folder / "test.jsonl").write_text(text.splitlines()[0])
    assert EvaluationSource("a", folder=str(folder), **look).size == 1
    assert EvaluationSource("a", folder=str(folder), problems=1, **look).size == 1
    assert len(list((tmp_path / "cache").iterdir())) == 3


@pytest.mark.parametrize("form", ["parquet", "arrow"])
@pytest.mark.parametrize("name", ["amc", "ifeval", "gpqa_diamond", "olympiad_bench", "humaneval_plus"])
def test_the_hubs_binary_files_give_the_same_problems(name, form, opened, tmp_path):
    """Columns have one type there: an instruction's arguments all keys, an answer a float, a missing text null."""
    (file,) = folder_of(name).rglob("*.jsonl")
    table = datasets.load_dataset("json", data_files=str(file), split="train", cache_dir=str(tmp_path / "datasets"))
    folder = tmp_path / form
    folder.mkdir()
    if form == "parquet":
        table.to_parquet(str(folder / file.with_suffix(".parquet").name))
    else:
        table.save_to_disk(str(folder / PUBLISHED[name].split))
    source = EvaluationSource(name, set=name, folder=str(folder), cache=str(tmp_path / "cache"))
    assert rows(source) == rows(opened(name))


def test_a_config_makes_held_out_problems_of_it(opened, tokenizer, tmp_path):
    knobs = {"name": "evaluation_set", "set": "aime_2024", "folder": str(folder_of("aime_2024"))}
    made = configured({**knobs, "cache": str(tmp_path)}, SOURCES, "data.held_out.aime")("aime")
    prompts = held_out({"aime": made}, tokenizer, problems_per_task=24, max_prompt_tokens=400)
    assert [prompt.task for prompt in prompts] == ["aime_2024"] * 2


def test_what_a_set_asks_is_known_again_in_training_data(opened):
    problems = [(name, row) for name in ("aime_2024", "humaneval_plus", "taco") for row in rows(opened(name))]
    contamination = Contamination(problems)
    asked = problems[0][1]
    question = asked.messages[0]["content"].removesuffix(f"\n\n{BOXED}")

    def judged(question, instruction):
        row = row_of_question("mine", "math", question, {}, instruction=instruction, system_prompt=None)
        return contamination.judge(row)

    assert judged(question.upper(), BOXED) == f"contaminated: asks {asked.uid} of aime_2024"
    assert judged(question, "Give the answer in a box.") == f"contaminated: asks {asked.uid} of aime_2024"


def test_an_unknown_set_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(ConfigError, match=r"set='aime2024' is unknown\. Did you mean 'aime_2024'\?"):
        EvaluationSource("a", set="aime2024", cache=str(tmp_path))


def test_a_folder_that_is_not_there_is_an_error_and_leaves_nothing(tmp_path):
    with pytest.raises(DataError, match="isn't there"):
        EvaluationSource("a", set="amc", folder=str(tmp_path / "no"), cache=str(tmp_path / "cache"))
    assert not (tmp_path / "cache").exists()


def test_puzzles_are_made_the_same_twice_and_accept_their_own_answers(tmp_path, judge, caplog):
    """acre's items depend on the size of its data set, some others' on PYTHONHASHSEED: processes fix both."""
    caplog.set_level(logging.INFO)
    made = [EvaluationSource("a", set="reasoning_gym_ood", problems=4, cache=str(tmp_path / folder)) for folder in "ab"]
    assert rows(made[0]) == rows(made[1])
    assert made[0].tasks == ("acre", "boxnet", "game_of_life_halting")
    assert made[0].size == 12
    assert "3 of 3 tasks" in caplog.text
    for row in rows(made[0]):
        assert judge.objection(row) is None
        if (response := right_response(row)) is not None:
            assert judge(row, response).reward == 1.0


def test_graphs_are_made_by_their_number_of_nodes(tmp_path, judge):
    source = EvaluationSource("a", set="graph_color_by_nodes", problems=2, cache=str(tmp_path))
    assert source.tasks == tuple(f"graph_color_{nodes}" for nodes in (10, 12, 15, 17, 20, 22, 25))
    for row in rows(source):
        nodes = int(row.task.rpartition("_")[2])
        assert len(row.reference["entry"]["metadata"]["puzzle"]["vertices"]) == nodes
        assert judge(row, right_response(row) or "").reward == 1.0
