import numpy as np
import pytest

from nemo_prorl.errors import DataError
from nemo_prorl.evaluation.folder import EvaluationFolder
from nemo_prorl.evaluation.records import Manifest, Results
from tests.evaluation.examples import BASE, example_evaluation


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return example_evaluation(tmp_path_factory.mktemp("evaluation"), samples=4)


def test_documents_come_back_as_they_were_written(folder):
    assert Manifest.model_validate_json(folder.manifest().model_dump_json()) == folder.manifest()
    assert Results.model_validate_json(folder.results().model_dump_json()) == folder.results()


def test_every_answer_is_stored_with_its_tokens_text_reward_outcome_and_length(folder):
    samples = folder.samples("codeforces")
    assert len(samples["uid"]) == 12 * 4
    assert samples["sample"][:5] == [0, 1, 2, 3, 0]
    assert samples["uid"][:5] == ["codeforces-0"] * 4 + ["codeforces-1"]
    assert [len(tokens) for tokens in samples["tokens"]] == samples["response_tokens"]
    assert set(samples["reward"]) <= {0.0, 1.0}
    assert set(samples["outcome"]) == {"scored"}
    assert all("\\boxed{" in text for text in samples["text"])


def test_questions_are_stored_once_a_problem(folder):
    problems = folder.problems(["set", "uid", "messages"])
    wanted = sum(len(chances) for tasks in BASE.values() for chances in tasks.values())
    assert len(problems["uid"]) == len(set(zip(problems["set"], problems["uid"], strict=True))) == wanted
    assert problems["messages"][0] == '[{"role": "user", "content": "Question 0 of aime_2024?"}]'


def test_answers_are_grouped_by_problem_in_the_set_s_order(folder):
    answers = folder.answers("aime_2024")
    assert [answer.uid for answer in answers] == [f"aime_2024-{number}" for number in range(12)]
    assert all(len(answer.rewards) == 4 for answer in answers)
    assert answers[0].solved(0.99) == int(np.sum(answers[0].rewards))


def test_equal_evaluations_have_equal_files(tmp_path):
    one, other = (example_evaluation(tmp_path / name, samples=4) for name in ("one", "other"))
    files = sorted(path.relative_to(one.path) for path in one.path.rglob("*") if path.is_file())
    assert files == sorted(path.relative_to(other.path) for path in other.path.rglob("*") if path.is_file())
    assert all((one.path / file).read_bytes() == (other.path / file).read_bytes() for file in files)


def test_a_set_whose_name_begins_another_s_does_not_take_its_files(folder):
    assert len(folder.parts("graph_color_by_nodes")) == 5
    assert folder.parts("graph_color") == []


def test_a_folder_without_an_evaluation_says_what_to_run(tmp_path):
    with pytest.raises(DataError, match="there is no such file; run `prorl evaluate` first"):
        EvaluationFolder(tmp_path).manifest()


def test_a_file_that_is_no_table_is_named(tmp_path):
    folder = EvaluationFolder(tmp_path)
    folder.part_path("aime_2024", 0).parent.mkdir()
    folder.part_path("aime_2024", 0).write_bytes(b"not Parquet")
    with pytest.raises(DataError, match=r"aime_2024-00000\.parquet can't be read as a table of uid"):
        folder.answers("aime_2024")


def test_missing_answers_are_told_rather_than_scored(folder, tmp_path):
    cut = example_evaluation(tmp_path / "cut", samples=4)
    cut.parts("codeforces")[-1].unlink()
    from nemo_prorl.evaluation.results import results_of

    with pytest.raises(DataError, match="set 'codeforces' has answers to 8 of 12 problems"):
        results_of(cut)
