"""Folders of every format, ours and others'; one of NeMo's that NeMo wrote (tests/cases/nemo/README.md)."""

import json
import pickle
import shutil

import pytest
import torch

from nemo_prorl.commands.convert import run
from nemo_prorl.errors import CheckpointError, ConfigError, WeightsError
from nemo_prorl.megatron.interop.model_folder import open_folder, step_of
from nemo_prorl.megatron.interop.stored_tensors import StoredTensors
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.conversion import exported
from nemo_prorl.weights.hf_folder import TensorReader
from tests.house.source import ROOT
from tests.tiny_models import tiny_hf_folder

NEMO = ROOT / "tests" / "cases" / "nemo" / "nemo2_qwen2_tiny"
SAME_AS_NEMO = ROOT / "tests" / "cases" / "nemo" / "hf_qwen2_tiny"
OURS = ("manifest.json", "state.json", "checksums.json")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_hf_folder(tmp_path_factory.mktemp("hf") / "qwen3", "qwen3", tied=False)


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("megatron") / "checkpoints"
    assert run(["hf-to-megatron", str(folder), str(path)]) == 0
    return path


@pytest.fixture
def checkpoint(written, tmp_path):
    """An iter_... folder that a test may spoil."""
    return shutil.copytree(written, tmp_path / "checkpoints") / "iter_0000000"


@pytest.fixture
def nemo(tmp_path):
    return shutil.copytree(NEMO, tmp_path / "nemo")


def remove(checkpoint, *names):
    for name in names:
        path = checkpoint / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def test_a_checkpoint_that_nemo_wrote_is_read_bit_for_bit():
    found = open_folder(NEMO)
    assert found.format == "nemo"
    assert found.architecture == Architecture.read(SAME_AS_NEMO)
    with found.tensors() as stored, TensorReader(SAME_AS_NEMO) as reader:
        for name, operation in exported(found.architecture).items():
            for hf_name, tensor in zip(operation.hf_names, stored.read(name, operation), strict=True):
                assert torch.equal(tensor, reader.get(hf_name)), hf_name


def test_nemos_checkpoint_becomes_a_whole_hugging_face_folder(tmp_path):
    assert run(["megatron-to-hf", str(NEMO), str(tmp_path / "hf")]) == 0
    assert run(["compare", str(tmp_path / "hf"), str(SAME_AS_NEMO)]) == 0
    names = {path.name for path in (tmp_path / "hf").iterdir()}
    assert {"tokenizer.json", "tokenizer_config.json", "generation_config.json", "config.json", "README.md"} <= names
    assert json.loads((tmp_path / "hf" / "generation_config.json").read_text())["eos_token_id"] == 256


def test_a_checkpoint_of_megatron_bridge_says_what_it_is(folder, checkpoint):
    remove(checkpoint, *OURS, "tokenizer")
    found = open_folder(checkpoint)
    assert found.format == "megatron-bridge"
    assert found.architecture == Architecture.read(folder)
    assert step_of(found) == 0


def test_a_checkpoint_of_megatron_lm_says_what_it_is(folder, checkpoint):
    remove(checkpoint, *OURS, "tokenizer", "run_config.yaml", "train_state.pt")
    found = open_folder(checkpoint.parent)
    assert found.format == "megatron-lm"
    assert found.architecture == Architecture.read(folder)


def test_a_checkpoint_that_says_nothing_needs_a_model_like_it(folder, checkpoint):
    remove(checkpoint, *OURS, "tokenizer", "run_config.yaml")
    torch.save({"args": None}, checkpoint / "common.pt")
    with pytest.raises(CheckpointError, match=r"doesn't say what model it is .*--like"):
        open_folder(checkpoint)
    assert open_folder(checkpoint, like=folder).architecture == Architecture.read(folder)


def test_layers_may_be_stored_one_by_one_under_local_names(checkpoint):
    """As Megatron does it where layers differ: decoder.layers.0.input_layernorm.weight instead of a stack."""
    remove(checkpoint, *OURS)
    expected = StoredTensors(checkpoint)
    metadata = pickle.loads((checkpoint / ".metadata").read_bytes())
    stack = "decoder.layers.self_attention.linear_qkv.layer_norm_weight"
    entry = metadata.state_dict_metadata.pop(stack)
    for index in [index for index in metadata.storage_data if index.fqn == stack]:
        name = f"decoder.layers.{index.offset[0]}.input_layernorm.weight"
        alone = type(index)(name, torch.Size([0]), 0)
        chunk = type(entry.chunks[0])(torch.Size([0]), torch.Size(entry.size[1:]))
        metadata.state_dict_metadata[name] = type(entry)(entry.properties, torch.Size(entry.size[1:]), [chunk])
        metadata.storage_data[alone] = metadata.storage_data.pop(index)
    (checkpoint / ".metadata").write_bytes(pickle.dumps(metadata))
    architecture = open_folder(checkpoint).architecture
    name = "decoder.layers.1.input_layernorm.weight"
    operation = exported(architecture)[name]
    assert torch.equal(StoredTensors(checkpoint).read(name, operation)[0], expected.read(name, operation)[0])


def test_files_that_are_missing_or_cut_off_are_all_named(nemo):
    (nemo / "weights" / "__0_0.distcp").unlink()
    other = nemo / "weights" / "__0_1.distcp"
    other.write_bytes(other.read_bytes()[:-1])
    with pytest.raises(CheckpointError) as caught:
        open_folder(nemo)
    assert "__0_0.distcp is missing; __0_1.distcp has 249636 bytes instead of 249637" in str(caught.value)


def test_a_tensor_that_was_changed_is_named_when_it_is_read(nemo, tmp_path):
    path = nemo / "weights" / "__0_1.distcp"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"__0_1\.distcp is damaged: the tensor at byte \d+ has other bytes"):
        run(["megatron-to-hf", str(nemo), str(tmp_path / "hf")])
    assert not list(tmp_path.glob("hf*"))


def test_damaged_descriptions_are_named(nemo):
    (nemo / "context" / "model.yaml").write_text("config: [")
    with pytest.raises(CheckpointError, match=r"model\.yaml has no readable section 'config'"):
        open_folder(nemo)
    (nemo / "weights" / ".metadata").write_bytes(b"\x80")
    with pytest.raises(CheckpointError, match="is no checkpoint in torch_dist format"):
        open_folder(nemo)


def test_a_description_that_does_not_fit_the_tensors_is_refused_with_every_reason(nemo):
    path = nemo / "context" / "model.yaml"
    path.write_text(path.read_text().replace("ffn_hidden_size: 128", "ffn_hidden_size: 256"))
    with pytest.raises(CheckpointError) as caught:
        open_folder(nemo)
    assert "linear_fc1.weight is [2, 256, 64], expected [2, 512, 64]" in str(caught.value)
    assert "linear_fc2.weight is [2, 64, 128], expected [2, 64, 256]" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("model.nemo", "is a NeMo 1 model"),
        ("mp_rank_00/model_optim_rng.pt", "a file a rank .*--ckpt-convert-format torch_dist"),
        ("weights.gguf", r"no model folder that we know; it holds weights\.gguf"),
        ("", "no model folder that we know; it holds nothing"),
    ],
)
def test_other_formats_are_refused_by_name(tmp_path, name, message):
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    if name:
        path.touch()
    with pytest.raises(WeightsError, match=message):
        open_folder(path if name.endswith(".nemo") else tmp_path)


def test_a_nemo_checkpoint_is_written_with_nemo_alone(folder, tmp_path):
    try:
        import nemo  # noqa: F401
    except ImportError:
        with pytest.raises(ConfigError, match=r"by nemo-toolkit only, which isn't installed.*nemo-prorl\[nemo\]"):
            run(["hf-to-megatron", str(folder), str(tmp_path / "out"), "--format", "nemo"])
        assert not list(tmp_path.iterdir())
    else:
        assert run(["hf-to-megatron", str(folder), str(tmp_path / "out"), "--format", "nemo"]) == 0
        assert open_folder(tmp_path / "out").architecture == Architecture.read(folder)
