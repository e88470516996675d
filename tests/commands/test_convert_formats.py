"""`prorl convert` across formats, interrupted, and with memory and logprobs looked at."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import pytest
import torch

from nemo_prorl.commands.convert import run
from nemo_prorl.commands.convert_options import COMMANDS
from nemo_prorl.errors import ConfigError, WeightsError
from nemo_prorl.megatron.interop.model_folder import open_folder
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.families import weight_map
from nemo_prorl.weights.hf_config import hf_config_of
from nemo_prorl.weights.hf_folder import stream
from nemo_prorl.weights.hf_writer import write_hf_folder
from nemo_prorl.weights.mapping import hf_parts
from tests.house.source import ROOT
from tests.tiny_models import tiny_hf_folder

NEMO = ROOT / "tests" / "cases" / "nemo"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_hf_folder(tmp_path_factory.mktemp("hf") / "model", "qwen2", tied=False, layers=4, kv_heads=2)


def same_files(left, right):
    names = sorted(path.name for path in left.glob("*.safetensors"))
    assert names == sorted(path.name for path in right.glob("*.safetensors"))
    return all((left / name).read_bytes() == (right / name).read_bytes() for name in names)


@pytest.mark.parametrize("tensor_parallel", ["1", "2"])
@pytest.mark.parametrize("multiple", ["1", "128", "1000"])
@pytest.mark.parametrize("dtype", ["fp32", "bf16"])
def test_there_anew_and_back_is_the_same_file_byte_for_byte(folder, tmp_path, tensor_parallel, multiple, dtype):
    """A Hugging Face folder to Megatron, resharded with another padding, and back."""
    source = tmp_path / "source"
    write_hf_folder(source, stream(folder), like=folder, dtype=dtype, max_shard_bytes=30_000)
    layout = ["--tensor-parallel", tensor_parallel, "--vocabulary-multiple", multiple, "--max-shard-bytes", "20000"]
    assert run(["hf-to-megatron", str(source), str(tmp_path / "megatron"), *layout]) == 0
    assert run(["reshard", str(tmp_path / "megatron"), str(tmp_path / "anew"), "--vocabulary-multiple", "96"]) == 0
    assert open_folder(tmp_path / "anew").padded_vocab == 288  # 279 tokens
    back = ["megatron-to-hf", str(tmp_path / "anew"), str(tmp_path / "back"), "--max-shard-bytes", "30000"]
    assert run(back) == 0
    assert same_files(source, tmp_path / "back")


def test_nemos_checkpoint_is_resharded_and_says_what_transformers_says(tmp_path, capsys):
    nemo, megatron, back = NEMO / "nemo2_qwen2_tiny", tmp_path / "megatron", tmp_path / "hf"
    assert run(["reshard", str(nemo), str(megatron), "--tensor-parallel", "2"]) == 0
    assert run(["megatron-to-hf", str(megatron), str(back), "--check-logprobs"]) == 0
    assert "logprobs of random tokens: largest difference" in capsys.readouterr().out
    assert same_files(NEMO / "hf_qwen2_tiny", back) or run(["compare", str(NEMO / "hf_qwen2_tiny"), str(back)]) == 0


def test_a_folder_is_told_in_words(folder, tmp_path, capsys):
    run(["hf-to-megatron", str(folder), str(tmp_path / "megatron")])
    capsys.readouterr()
    assert run(["info", str(tmp_path / "megatron"), "--tensors"]) == 0
    told = capsys.readouterr().out
    for line in (
        "iter_0000000: torch_dist checkpoint of prorl of step 0",
        "vocabulary    279, padded to 384; embeddings apart from the output layer",
        "positions     256, rotary base 10000, plain",
        "model.layers.3.self_attn.k_proj.bias [16] float32",
    ):
        assert line in told
    assert run(["info", str(folder)]) == 0
    assert "Hugging Face folder\nmodel         Qwen2ForCausalLM, " in capsys.readouterr().out


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)], ids=lambda command: " ".join(command))
def test_help_has_an_example(command, capsys):
    with pytest.raises(SystemExit) as ended:
        run([*command, "--help"])
    assert ended.value.code == 0
    assert f"prorl convert {' '.join(command)}".strip() in capsys.readouterr().out


def test_a_layout_that_does_not_fit_is_refused_before_anything_is_written(folder, tmp_path):
    with pytest.raises(ConfigError, match="--tensor-parallel 4 does not divide the model's 2 key-value heads"):
        run(["hf-to-megatron", str(folder), str(tmp_path / "out"), "--tensor-parallel", "4"])
    assert not list(tmp_path.iterdir())


def test_a_tokenizer_of_another_model_is_refused(folder, tmp_path):
    small = tiny_hf_folder(tmp_path / "small", "qwen2", vocabulary_size=100)
    with pytest.raises(WeightsError, match=r"tokenizer\.json has tokens up to number 278, but .* has 100 rows"):
        run(["hf-to-megatron", str(small), str(tmp_path / "out")])


def test_the_card_says_where_the_model_came_from_and_what_nobody_knows(folder, tmp_path):
    run(["hf-to-megatron", str(folder), str(tmp_path / "megatron")])
    run(["megatron-to-hf", str(tmp_path / "megatron"), str(tmp_path / "back")])
    card = (tmp_path / "back" / "README.md").read_text()
    assert "Base model: model\n" in card
    assert "no training between" in card
    assert "Nobody has looked at" in card


def wide_model(path, layers=20):
    """About 80 MB in fp32, in shards of 12 MB."""
    config = {"model_type": "qwen2", "hidden_size": 256, "intermediate_size": 1024, "num_hidden_layers": layers}
    config |= {"num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 2048, "max_position_embeddings": 512}
    architecture = Architecture.from_hf_config(config | {"tie_word_embeddings": True}, "here")
    like = path.with_name("like")
    like.mkdir()
    (like / "config.json").write_text(json.dumps(hf_config_of(architecture)))
    tensors = ((part.name, torch.randn(part.shape)) for part in hf_parts(weight_map(architecture)))
    write_hf_folder(path, tensors, like=like, max_shard_bytes=12_000_000)
    return architecture


CONVERSION = """
import json, resource, sys
from nemo_prorl.commands.convert import run
def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024
warm, to = sys.argv[1:3]
run(["hf-to-megatron", warm, to])  # loads every library that it takes
run(["megatron-to-hf", to, to + "-back"])
open("/proc/self/clear_refs", "w").write("5")
before = peak()
assert run(sys.argv[3:]) == 0
print(json.dumps(peak() - before))
"""


def converting(warm, *arguments):
    command = [sys.executable, "-c", CONVERSION, str(warm), tempfile.mkdtemp(dir=warm.parent), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"})


def test_memory_stays_below_one_and_a_half_shards_and_a_layer_and_what_is_killed_goes_on(folder, tmp_path):
    """Both ways, in processes of their own. One is killed on its way: another does the rest."""
    architecture = wide_model(tmp_path / "hf")
    shard = max(path.stat().st_size for path in (tmp_path / "hf").glob("*.safetensors"))
    allowed = 1.5 * shard + 4 * architecture.layer_parameter_count
    shards = ["--max-shard-bytes", "12000000"]
    there = ["hf-to-megatron", tmp_path / "hf", tmp_path / "megatron", *shards]
    back = ["megatron-to-hf", tmp_path / "megatron", tmp_path / "back", *shards]
    killed = converting(folder, *there)
    wait_for_lines(tmp_path / "megatron.partial" / "conversion.jsonl", 20, killed)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert not (tmp_path / "megatron").exists()
    for arguments in (there, back):
        process = converting(folder, *arguments)
        peak = int(process.communicate(timeout=120)[0].splitlines()[-1])
        assert process.returncode == 0
        assert 0 < peak < allowed, f"{arguments[0]}: {peak:,} bytes, allowed {allowed:,.0f}"
    assert not list(tmp_path.glob("*.partial"))
    assert same_files(tmp_path / "hf", tmp_path / "back")


def wait_for_lines(path, count, process):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        if path.is_file() and len(path.read_text().splitlines()) > count:
            return
        time.sleep(0.001)
    raise AssertionError(f"{path} never had {count} lines")
