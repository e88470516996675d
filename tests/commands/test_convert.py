import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from nemo_prorl.commands.convert import run
from nemo_prorl.errors import CheckpointError, ConfigError, WeightsError
from nemo_prorl.megatron.interop.model_folder import open_folder
from nemo_prorl.megatron.interop.plain_pickle import plain_loads
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.hf_folder import stream
from nemo_prorl.weights.hf_writer import write_hf_folder
from tests.tiny_models import tiny_hf_folder

KINDS = [("qwen2", True), ("qwen2", False), ("qwen3", True), ("llama", False)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """A Hugging Face folder of every kind, and a checkpoint made of it: {kind: (folder, checkpoints)}."""
    base = tmp_path_factory.mktemp("convert")
    made = {}
    for family, tied in KINDS:
        folder = tiny_hf_folder(base / f"{family}-{tied}", family, tied)
        assert run(["hf-to-megatron", str(folder), str(base / f"{family}-{tied}-megatron")]) == 0
        made[family, tied] = folder, base / f"{family}-{tied}-megatron"
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_there_and_back_is_the_same_bit_for_bit(folders, kind, tmp_path, capsys):
    folder, checkpoints = folders[kind]
    assert run(["megatron-to-hf", str(checkpoints), str(tmp_path / "back"), "--like", str(folder)]) == 0
    capsys.readouterr()
    assert run(["compare", str(folder), str(tmp_path / "back")]) == 0
    count = len(list(stream(folder)))
    assert capsys.readouterr().out == f"{count} of {count} tensors are the same bit for bit\n"
    files = {path.name for path in folder.iterdir()} | {"README.md"}
    assert {path.name for path in (tmp_path / "back").iterdir()} == files


@pytest.mark.parametrize("dtype", ["bf16", "fp16"])
def test_half_precision_goes_there_and_back_too(folders, dtype, tmp_path):
    folder = folders["qwen2", True][0]
    half, checkpoints, back = tmp_path / "half", tmp_path / "megatron", tmp_path / "back"
    write_hf_folder(half, stream(folder), like=folder, dtype=dtype)
    assert run(["hf-to-megatron", str(half), str(checkpoints), "--vocabulary-multiple", "40"]) == 0
    assert run(["megatron-to-hf", str(checkpoints / "iter_0000000"), str(back), "--like", str(half)]) == 0
    assert Architecture.read(back).dtype == dtype
    assert run(["compare", str(half), str(back)]) == 0


def test_dtype_and_shards_can_be_chosen_and_an_export_replaced_when_asked(folders, tmp_path):
    folder, checkpoints = folders["llama", False]
    arguments = ["megatron-to-hf", str(checkpoints), str(tmp_path / "out"), "--like", str(folder)]
    assert run(arguments) == 0
    with pytest.raises(WeightsError, match="out is not empty"):
        run(arguments)
    assert run([*arguments, "--overwrite", "--dtype", "bf16", "--max-shard-bytes", "20000"]) == 0
    assert Architecture.read(tmp_path / "out").dtype == "bf16"
    assert len(list((tmp_path / "out").glob("*.safetensors"))) > 1


@pytest.mark.parametrize(
    ("kind", "wrong", "problem"),
    [
        (("qwen2", False), ("llama", False), r"decoder\.layers\.self_attention\.linear_qkv\.bias .* is unknown"),
        (("llama", False), ("qwen2", False), r"decoder\.layers\.self_attention\.linear_qkv\.bias is missing"),
        (("qwen2", False), ("qwen2", True), r"output_layer\.weight .* is unknown"),
        (("qwen2", True), ("qwen2", False), r"output_layer\.weight is missing"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_not_trimmed(folders, kind, wrong, problem, tmp_path):
    arguments = ["megatron-to-hf", str(folders[kind][1]), str(tmp_path / "out"), "--like", str(folders[wrong][0])]
    with pytest.raises(CheckpointError, match=rf"(?s)is not of a model like .*\(1 problems\).*{problem}"):
        run(arguments)
    assert not list(tmp_path.iterdir())


def test_a_damaged_checkpoint_is_refused(folders, tmp_path):
    folder, checkpoints = folders["qwen2", True]
    damaged = shutil.copytree(checkpoints, tmp_path / "damaged") / "iter_0000000"
    data = next(damaged.glob("*.distcp"))
    data.write_bytes(data.read_bytes()[:-100])
    for given, message in (
        (damaged, r"is not a whole checkpoint: .*distcp has"),
        (damaged.parent, "no whole checkpoint"),
    ):
        with pytest.raises(CheckpointError, match=message):
            run(["megatron-to-hf", str(given), str(tmp_path / "out"), "--like", str(folder)])
    assert not (tmp_path / "out").exists()


def test_what_is_no_checkpoint_is_refused(folders, tmp_path):
    folder, _ = folders["qwen2", True]
    with pytest.raises(WeightsError, match="nothing does not exist"):
        run(["megatron-to-hf", str(tmp_path / "nothing"), str(tmp_path / "out"), "--like", str(folder)])
    (tmp_path / "notes.txt").touch()
    with pytest.raises(WeightsError, match=r"no model folder that we know; it holds notes\.txt\. Give a Hugging Face"):
        run(["megatron-to-hf", str(tmp_path), str(tmp_path / "out"), "--like", str(folder)])


def test_a_folder_in_use_takes_no_checkpoint(folders):
    folder, checkpoints = folders["qwen2", True]
    with pytest.raises(WeightsError, match="is not empty; choose another folder"):
        run(["hf-to-megatron", str(folder), str(checkpoints)])


def test_a_model_with_a_tensor_missing_makes_no_checkpoint(folders, tmp_path):
    spoilt = shutil.copytree(folders["qwen2", True][0], tmp_path / "spoilt")
    tensors = {name: tensor.clone() for name, tensor in load_file(spoilt / "model.safetensors").items()}
    del tensors["model.norm.weight"]
    save_file(tensors, spoilt / "model.safetensors")
    with pytest.raises(WeightsError, match=r"model\.norm\.weight is missing"):
        run(["hf-to-megatron", str(spoilt), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_conversion_is_not_started_under_torchrun(folders, tmp_path, monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="started as 2 ranks"):
        run(["hf-to-megatron", str(folders["qwen2", True][0]), str(tmp_path / "out")])


def test_differences_are_listed_and_may_be_tolerated(folders, tmp_path, capsys):
    folder = folders["qwen2", False][0]
    changed = tmp_path / "changed"
    tensors = {name: tensor + 0.25 if name == "model.norm.weight" else tensor for name, tensor in stream(folder)}
    write_hf_folder(changed, tensors.items(), like=folder)
    assert run(["compare", str(folder), str(changed)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "model.norm.weight: values, largest difference 0.25",
        f"{len(tensors) - 1} of {len(tensors)} tensors are the same bit for bit",
    ]
    assert run(["compare", str(folder), str(changed), "--tolerance", "0.2501"]) == 0
    assert run(["compare", str(folder), str(changed), "--tolerance", "0.1"]) == 1


def test_logprobs_of_equal_and_of_rounded_models(folders, tmp_path, capsys):
    folder = folders["qwen2", True][0]
    half = tmp_path / "half"
    write_hf_folder(half, stream(folder), like=folder, dtype="bf16")
    assert run(["compare", str(folder), str(folder), "--logprobs"]) == 0
    assert "logprobs of random tokens: largest difference 0\n" in capsys.readouterr().out
    assert run(["compare", str(folder), str(half), "--logprobs", "--tolerance", "0.05"]) == 0
    assert run(["compare", str(folder), str(half), "--logprobs", "--tolerance", "0"]) == 1
    with pytest.raises(WeightsError, match="different architectures"):
        run(["compare", str(folder), str(folders["qwen2", False][0]), "--logprobs"])


def test_a_dry_run_does_nothing(tmp_path, capsys):
    assert run(["compare", "a", "b"], dry_run=True) == 0
    told = "first=a, second=b, like=None, tolerance=None, logprobs=False, transformers=False\n"
    assert capsys.readouterr().out == told


def test_a_policy_is_exported_from_a_run_that_saved_its_optimizer_too(folders, tmp_path):
    """The optimizer's and the reference's tensors in the checkpoint are left aside."""
    from nemo_prorl.config.schema import MegatronConfig, OptimizerConfig
    from nemo_prorl.megatron.checkpoint import Checkpoints
    from nemo_prorl.megatron.model import build_model
    from nemo_prorl.megatron.optimizer import PolicyOptimizer
    from nemo_prorl.megatron.retention import Retention
    from nemo_prorl.megatron.runtime import Runtime
    from nemo_prorl.megatron.snapshot import WeightSnapshot
    from nemo_prorl.megatron.weights import export_weights

    folder = folders["qwen3", True][0]
    config = MegatronConfig()
    with Runtime.start(config, seed=0, torch_threads=1) as runtime:
        model = build_model(Architecture.read(folder), config, runtime)
        optimizer = PolicyOptimizer(model, OptimizerConfig(), total_steps=1)
        Checkpoints(tmp_path / "run", runtime, retention=Retention(keep_last=1)).save(
            3, model, optimizer, {"reference": WeightSnapshot(model)}, {"step": 3}
        )
        expected = {name: tensor.clone() for name, tensor in export_weights(model)}
    found = open_folder(tmp_path / "run")  # the checkpoint itself says what model it is
    assert (found.format, found.architecture) == ("prorl", Architecture.read(folder))
    common = torch.load(found.path / "common.pt", weights_only=False)
    assert (common["iteration"], common["checkpoint_version"], common["args"].qk_layernorm) == (3, 3.0, True)
    assert (found.path / "run_config.yaml").is_file()
    stored = plain_loads((found.path / ".metadata").read_bytes()).state_dict_metadata
    asked = {f"decoder.layers.self_attention.core_attention._extra_state/shard_{layer}_2" for layer in range(2)}
    assert asked <= stored.keys()  # by layers that compute with Transformer Engine
    assert run(["megatron-to-hf", str(tmp_path / "run"), str(tmp_path / "out"), "--like", str(folder)]) == 0
    written = dict(stream(tmp_path / "out"))
    assert list(written) == list(expected)
    assert all(torch.equal(written[name], expected[name]) for name in expected)
    assert json.loads((tmp_path / "run" / "iter_0000003" / "state.json").read_text())["state"] == {"step": 3}
