import json
import resource
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from nemo_prorl.errors import WeightsError
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.hf_folder import INDEX, SINGLE, TensorReader, stream
from nemo_prorl.weights.hf_writer import write_hf_folder
from tests.tiny_models import tiny_hf_folder

SMALL = 20_000  # bytes a shard: a tiny model makes several


def same(left, right):
    return list(left) == list(right) and all(torch.equal(left[name], right[name]) for name in left)


@pytest.fixture
def copied(qwen2_folder, tmp_path):
    """A folder that a test may spoil."""
    return shutil.copytree(qwen2_folder, tmp_path / "copied")


def spoil(folder, change):
    tensors = {name: tensor.clone() for name, tensor in load_file(folder / SINGLE).items()}
    change(tensors)
    save_file(tensors, folder / SINGLE)


@pytest.mark.parametrize("max_shard_bytes", [SMALL, 10**9])
def test_a_folder_read_and_written_is_the_same_model_to_transformers(model_folder, tmp_path, max_shard_bytes):
    copy = tmp_path / "copy"
    write_hf_folder(copy, stream(model_folder), like=model_folder, max_shard_bytes=max_shard_bytes)
    assert (copy / INDEX).exists() == (max_shard_bytes == SMALL)
    assert (copy / SINGLE).exists() == (max_shard_bytes != SMALL)
    assert same(dict(stream(copy)), dict(stream(model_folder)))
    loaded, original = (AutoModelForCausalLM.from_pretrained(folder) for folder in (copy, model_folder))
    assert same(loaded.state_dict(), original.state_dict())
    written, read = (AutoTokenizer.from_pretrained(folder)("1 + 1").input_ids for folder in (copy, model_folder))
    assert written == read
    assert not list(tmp_path.glob("*.partial"))


def test_shards_are_no_larger_than_asked_unless_one_tensor_is(qwen2_folder, tmp_path):
    write_hf_folder(tmp_path / "copy", stream(qwen2_folder), like=qwen2_folder, max_shard_bytes=SMALL)
    for path in (tmp_path / "copy").glob("*.safetensors"):
        tensors = load_file(path)
        assert len(tensors) == 1 or sum(tensor.nbytes for tensor in tensors.values()) <= SMALL
    index = json.loads((tmp_path / "copy" / INDEX).read_text())
    assert index["metadata"]["total_size"] == 4 * Architecture.read(qwen2_folder).parameter_count


def test_the_dtype_is_converted_and_stands_in_the_config(qwen2_folder, tmp_path):
    write_hf_folder(tmp_path / "half", stream(qwen2_folder), like=qwen2_folder, dtype="bf16")
    assert Architecture.read(tmp_path / "half").dtype == "bf16"
    with TensorReader(tmp_path / "half") as reader:
        for name, tensor in stream(qwen2_folder):
            assert reader.dtype(name) == torch.bfloat16
            assert torch.equal(reader.get(name), tensor.bfloat16())


def test_an_old_config_keeps_its_own_key_for_the_dtype(copied, tmp_path):
    config = json.loads((copied / "config.json").read_text())
    config["torch_dtype"] = config.pop("dtype")
    (copied / "config.json").write_text(json.dumps(config))
    write_hf_folder(tmp_path / "half", stream(copied), like=copied, dtype="bf16")
    assert json.loads((tmp_path / "half" / "config.json").read_text()) == config | {"torch_dtype": "bfloat16"}


def test_all_that_is_not_weights_is_carried_along(copied, tmp_path):
    for name in ("merges.txt", "vocab.json", "added_tokens.json", "LICENSE.txt", "special_tokens_map.json"):
        (copied / name).write_text(name)
    (copied / "pytorch_model.bin").write_text("old weights")
    (copied / "private.txt").write_text("not the model's")
    write_hf_folder(tmp_path / "copy", stream(copied), like=copied)
    left_behind = {"pytorch_model.bin", "private.txt"}
    assert {p.name for p in (tmp_path / "copy").iterdir()} == {p.name for p in copied.iterdir()} - left_behind
    assert (tmp_path / "copy" / "generation_config.json").read_text() == (copied / "generation_config.json").read_text()


def test_the_stream_may_come_in_any_order(qwen2_folder, tmp_path):
    backwards = reversed(list(stream(qwen2_folder)))
    write_hf_folder(tmp_path / "copy", backwards, like=qwen2_folder, max_shard_bytes=SMALL)
    assert same(dict(stream(tmp_path / "copy")), dict(stream(qwen2_folder)))


def test_one_tensor_is_asked_for_at_a_time(qwen2_folder, tmp_path):
    """Every tensor is on disk before the next is made, so that memory holds one: it is found in the file's bytes."""
    waiting = []

    def watched():
        for name, tensor in stream(qwen2_folder):
            written = b"".join(path.read_bytes() for path in tmp_path.glob("copy.partial/*.safetensors"))
            assert all(earlier.numpy().tobytes() in written for earlier in waiting)
            waiting.append(tensor.clone())
            yield name, tensor

    write_hf_folder(tmp_path / "copy", watched(), like=qwen2_folder, max_shard_bytes=SMALL)
    assert waiting


def test_a_wrong_stream_is_refused_with_every_reason_and_leaves_nothing(qwen2_folder, tmp_path):
    tensors = dict(stream(qwen2_folder))
    del tensors["model.norm.weight"]
    tensors["model.layers.0.mlp.up_proj.weight"] = torch.zeros(3, 5)
    tensors["model.surprise"] = torch.zeros(2)
    twice = [*tensors.items(), ("lm_head.weight", tensors["lm_head.weight"])]
    with pytest.raises(WeightsError) as caught:
        write_hf_folder(tmp_path / "copy", twice, like=qwen2_folder)
    for reason in (
        "model.norm.weight is missing",
        "model.layers.0.mlp.up_proj.weight is [3, 5], expected [64, 32]",
        "model.surprise [2] is unknown",
        "came twice",
        "4 problems",
    ):
        assert reason in str(caught.value)
    assert not list(tmp_path.iterdir())


def test_a_stream_that_fails_leaves_nothing(qwen2_folder, tmp_path):
    def broken():
        yield next(stream(qwen2_folder))
        raise RuntimeError("the model is gone")

    with pytest.raises(RuntimeError, match="the model is gone"):
        write_hf_folder(tmp_path / "copy", broken(), like=qwen2_folder)
    assert not list(tmp_path.iterdir())


def test_a_disk_that_gets_full_is_told_leaves_nothing_and_the_stream_is_taken_to_its_end(qwen2_folder, tmp_path):
    """The limit on file size stands in for a full disk: both end a write with an OSError."""
    remaining = iter(stream(qwen2_folder))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, limits[1]))
    try:
        with pytest.raises(WeightsError, match=r"copy can't be written.*free some"):
            write_hf_folder(tmp_path / "copy", remaining, like=qwen2_folder)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not list(tmp_path.iterdir())
    assert next(remaining, None) is None


def test_the_stream_is_taken_to_its_end_also_when_there_is_no_model_to_be_like(qwen2_folder, tmp_path):
    remaining = iter(stream(qwen2_folder))
    with pytest.raises(WeightsError):
        write_hf_folder(tmp_path / "copy", remaining, like=tmp_path / "nowhere")
    assert next(remaining, None) is None


def test_a_missing_tensor_an_unknown_one_and_a_wrong_shape_are_all_listed(copied):
    def change(tensors):
        del tensors["model.layers.1.self_attn.k_proj.bias"]
        tensors["model.norm.weight"] = torch.zeros(7)
        tensors["model.layers.9.mlp.up_proj.weight"] = torch.zeros(2, 2)

    spoil(copied, change)
    with pytest.raises(WeightsError) as caught:
        next(stream(copied))
    for reason in (
        "model.layers.1.self_attn.k_proj.bias is missing",
        "model.norm.weight is [7], expected [32]",
        "model.layers.9.mlp.up_proj.weight [2, 2] is unknown",
        "3 problems",
    ):
        assert reason in str(caught.value)


def test_a_quantised_tensor_is_refused(copied):
    spoil(copied, lambda tensors: tensors.update({"model.norm.weight": torch.zeros(32, dtype=torch.int8)}))
    with TensorReader(copied) as reader, pytest.raises(WeightsError, match=r"model\.norm\.weight is I8"):
        reader.check(Architecture.read(copied))
    with TensorReader(copied) as reader, pytest.raises(WeightsError, match="is I8; only plain F32, BF16, F16"):
        reader.dtype("model.norm.weight")


def test_what_old_exports_repeat_is_left_aside(tmp_path):
    folder = tiny_hf_folder(tmp_path / "tied", tied=True)
    before = {name: tensor.clone() for name, tensor in stream(folder)}
    embeddings = before["model.embed_tokens.weight"]

    def repeat(tensors):
        tensors["lm_head.weight"] = embeddings.clone()  # safetensors saves no tensor twice
        tensors["model.layers.0.self_attn.rotary_emb.inv_freq"] = torch.ones(4)

    spoil(folder, repeat)
    assert same(dict(stream(folder)), before)
    spoil(folder, lambda tensors: tensors.update({"lm_head.weight": embeddings + 1}))
    with pytest.raises(WeightsError, match=r"lm_head\.weight .* is unknown"):
        next(stream(folder))


def test_a_truncated_file_is_named(copied):
    content = (copied / SINGLE).read_bytes()
    (copied / SINGLE).write_bytes(content[: len(content) // 2])
    with pytest.raises(WeightsError, match=r"model\.safetensors \(\d+ bytes\) is damaged"):
        TensorReader(copied)


def test_missing_and_damaged_shards_are_all_named(qwen2_folder, tmp_path):
    folder = tmp_path / "copy"
    write_hf_folder(folder, stream(qwen2_folder), like=qwen2_folder, max_shard_bytes=SMALL)
    shards = sorted(folder.glob("*.safetensors"))
    shards[0].unlink()
    shards[1].write_text("version https://git-lfs.github.com/spec/v1")
    with pytest.raises(WeightsError) as caught:
        TensorReader(folder)
    assert f"{shards[0].name} is missing" in str(caught.value)
    assert f"{shards[1].name} (42 bytes) is damaged" in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"weight_map": 3}', "{}"])
def test_a_damaged_index_is_named(copied, text):
    (copied / INDEX).write_text(text)
    with pytest.raises(WeightsError, match=r"index\.json is damaged"):
        TensorReader(copied)


def test_pickled_weights_are_refused_with_advice(copied):
    (copied / SINGLE).rename(copied / "pytorch_model.bin")
    with pytest.raises(WeightsError, match=r"pytorch_model\.bin.*save_pretrained"):
        TensorReader(copied)


def test_an_unknown_name_is_refused(qwen2_folder):
    with TensorReader(qwen2_folder) as reader, pytest.raises(WeightsError, match=r"has no tensor 'model\.nothing'"):
        reader.get("model.nothing")
