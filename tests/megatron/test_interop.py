"""Converted checkpoints in the hands of others: Megatron's own loader in every layout, and mbridge."""

import pytest
import torch

from nemo_prorl.commands.convert import run
from nemo_prorl.weights.hf_folder import stream
from nemo_prorl.weights.hf_writer import write_hf_folder
from tests.megatron.interop_scenarios import loaded_by_megatron, mbridge_against_ours
from tests.processes import run_ranks
from tests.tiny_models import tiny_hf_folder

KINDS = [("qwen2", True), ("qwen2", False), ("qwen3", True), ("qwen3", False), ("llama", False), ("llama", True)]


@pytest.fixture(scope="module")
def converted(tmp_path_factory):
    """{(family, tied): (folder, checkpoint)}, of 4 layers with 4 query groups, cut for two ranks."""
    base, made = tmp_path_factory.mktemp("interop"), {}
    for family, tied in KINDS:
        whole = tiny_hf_folder(base / f"{family}-{tied}-whole", family, tied, layers=4, heads=8, kv_heads=4)
        folder = base / f"{family}-{tied}"
        write_hf_folder(folder, stream(whole), like=whole, max_shard_bytes=50_000)
        arguments = ["--vocabulary-multiple", "16", "--tensor-parallel", "2"]
        assert run(["hf-to-megatron", str(folder), str(base / f"{family}-{tied}-megatron"), *arguments]) == 0
        made[family, tied] = folder, base / f"{family}-{tied}-megatron" / "iter_0000000"
    return made


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[name], right[name]) for name in left)


@pytest.mark.processes
@pytest.mark.parametrize(
    ("kind", "layout"),
    [
        (("qwen2", False), {"pipeline_parallel_size": 2, "virtual_pipeline_size": 2}),
        (("llama", True), {"tensor_parallel_size": 2, "sequence_parallel": True}),
        (("qwen3", True), {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}),
    ],
)
def test_megatrons_own_loader_reads_every_tensor_in_any_layout(converted, kind, layout):
    folder, checkpoint = converted[kind]
    ranks = layout.get("tensor_parallel_size", 1) * layout.get("pipeline_parallel_size", 1)
    expected = dict(stream(folder))
    for weights in run_ranks(loaded_by_megatron, ranks, folder, checkpoint, layout):
        assert same(weights, expected)


@pytest.mark.processes
@pytest.mark.parametrize("tensor_parallel", [1, 2])
def test_mbridge_has_the_same_tensors(converted, tensor_parallel):
    """What it reads of each Hugging Face folder is what Megatron reads of our checkpoint, bit for bit, and what it
    exports of that is what lay in the folder."""
    kinds = KINDS if tensor_parallel == 1 else [("qwen2", False)]
    pairs = [converted[kind] for kind in kinds]
    expected = [([], [], len(list(stream(folder)))) for folder, _ in pairs]
    for told in run_ranks(mbridge_against_ours, tensor_parallel, pairs, {"tensor_parallel_size": tensor_parallel}):
        assert told == expected
