"""The one door to transformers' tokenizers."""

import json
import shutil

import pytest
from tokenizers import Tokenizer as RawTokenizer
from tokenizers import decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import DataError, WeightsError
from nemo_prorl.quickstart.tiny_model import make_tokenizer

ASK = [{"role": "user", "content": "2+3?"}]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tokenizer")
    make_tokenizer().save_pretrained(folder)
    (folder / "config.json").write_text('{"model_type": "qwen2"}')
    return folder


@pytest.fixture
def folder(saved, tmp_path):
    """A copy to be damaged."""
    return shutil.copytree(saved, tmp_path / "model")


def test_a_chat_ends_where_the_response_begins(folder):
    tokenizer = Tokenizer.load(folder)
    text = "<|im_start|>user\n2+3?<|im_end|>\n<|im_start|>assistant\n<think>"
    assert tokenizer.render(ASK) == tokenizer.encode(text)
    assert tokenizer.decode(tokenizer.render(ASK), skip_special=False) == text


@pytest.mark.parametrize(
    "text", ["", " a  b\n\n", "naïve 数学 🙂", "7,14</think><answer>14</answer>", "\t'quoted' \\frac{1}{2}"]
)
def test_encode_adds_nothing_and_decode_gives_it_back(folder, text):
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_decoding_leaves_out_end_tokens_and_keeps_the_answers_tags(folder):
    tokenizer = Tokenizer.load(folder)
    ids = tokenizer.encode("</think><answer>4</answer><|im_end|><|endoftext|>")
    assert tokenizer.decode(ids) == "</think><answer>4</answer>"
    assert tokenizer.decode(ids, skip_special=False) == "</think><answer>4</answer><|im_end|><|endoftext|>"


@pytest.mark.parametrize(("listed", "stop_ids"), [([0, 2], (2, 0)), (0, (2, 0)), (2, (2,)), (None, (2,))])
def test_stop_ids_are_those_of_the_tokenizer_and_of_the_generation_config(folder, listed, stop_ids):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": listed}))
    tokenizer = Tokenizer.load(folder)
    assert tokenizer.stop_ids == stop_ids
    assert (tokenizer.end_id, tokenizer.pad_id, tokenizer.vocabulary_size) == (2, 0, 279)


def test_stop_ids_that_are_no_numbers_are_refused(folder):
    (folder / "generation_config.json").write_text('{"eos_token_id": "<|im_end|>"}')
    with pytest.raises(WeightsError, match=r"generation_config.json: eos_token_id can't be read"):
        Tokenizer.load(folder)


def test_a_tokenizer_without_any_end_token_is_refused(folder):
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"eos_token": None}))
    with pytest.raises(WeightsError, match="no answer could ever end"):
        Tokenizer.load(folder)


def test_a_missing_folder_and_one_without_tokenizer_say_what_to_do(tmp_path):
    with pytest.raises(WeightsError, match=r"nowhere: found no such folder.*correct model\.path"):
        Tokenizer.load(tmp_path / "nowhere")
    with pytest.raises(WeightsError, match=r"needs tokenizer files \(tokenizer.json or"):
        Tokenizer.load(tmp_path)


def test_a_broken_tokenizer_file_is_named(folder):
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(WeightsError, match="transformers can't read the tokenizer"):
        Tokenizer.load(folder)


def test_a_tokenizer_without_chat_template_says_what_to_do(folder):
    (folder / "chat_template.jinja").unlink()
    with pytest.raises(DataError, match=r"no chat template.*Add chat_template.jinja"):
        Tokenizer.load(folder).render(ASK)


def test_what_the_template_refuses_is_an_error_with_the_roles(folder):
    (folder / "chat_template.jinja").write_text("{{ raise_exception('only one turn') }}")
    with pytest.raises(DataError, match=r"roles \['user'\]: only one turn"):
        Tokenizer.load(folder).render(ASK)


def test_a_tokenizer_that_transformers_would_rebuild_wrongly_is_read_as_published(tmp_path, caplog):
    """For model_type qwen2 AutoTokenizer ignores that this tokenizer.json doesn't cut words at all."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: number for number, token in enumerate(["<eos>", *alphabet, "eĠ"])}
    raw = RawTokenizer(models.BPE(vocab=vocabulary, merges=[("e", "Ġ")]))
    raw.pre_tokenizer, raw.decoder = (
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        decoders.ByteLevel(),
    )
    published = PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<eos>")
    published.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    tokenizer = Tokenizer.load(tmp_path)
    assert tokenizer.encode("e b") == published("e b")["input_ids"] == [vocabulary["eĠ"], vocabulary["b"]]
    assert "AutoTokenizer (Qwen2Tokenizer) cuts a text otherwise" in caplog.text
