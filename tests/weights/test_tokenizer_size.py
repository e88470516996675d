import json

import pytest

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.tokenizer_size import check_tokenizer


def write(folder, vocabulary, added=()):
    tokens = [{"id": number, "content": f"<{number}>"} for number in added]
    (folder / "tokenizer.json").write_text(json.dumps({"model": {"vocab": vocabulary}, "added_tokens": tokens}))


@pytest.mark.parametrize("vocabulary", [{"a": 0, "b": 1}, [["a", -1.0], ["b", -2.0]]], ids=["bpe", "unigram"])
def test_a_tokenizer_may_have_fewer_tokens_than_the_model_and_no_more(tmp_path, vocabulary):
    write(tmp_path, vocabulary, added=[2])
    check_tokenizer(tmp_path, 3)
    check_tokenizer(tmp_path, 128)
    with pytest.raises(WeightsError, match=r"tokens up to number 2, but the model's vocabulary has 2 rows"):
        check_tokenizer(tmp_path, 2)


def test_a_folder_without_a_tokenizer_is_not_looked_at(tmp_path):
    check_tokenizer(tmp_path, 1)


def test_a_damaged_tokenizer_is_named(tmp_path):
    (tmp_path / "tokenizer.json").write_text('{"model": 3}')
    with pytest.raises(WeightsError, match=r"tokenizer\.json is no tokenizer"):
        check_tokenizer(tmp_path, 1)
