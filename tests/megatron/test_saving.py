"""Checkpoints beside the training, what is kept, what is damaged, and what is brought back from them."""

import json

import pytest
import torch

from tests.megatron import checkpoint_scenarios, saving_scenarios
from tests.processes import run_ranks
from tests.tiny_models import tiny_hf_folder

pytestmark = pytest.mark.processes

TP2 = {"tensor_parallel_size": 2}
SHARDED = {"distributed_optimizer": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_hf_folder(tmp_path_factory.mktemp("model"), "qwen2", tied=True)


@pytest.mark.parametrize(("count", "settings"), [(1, {}), (1, {"precision": "bf16"}), (2, TP2), (2, SHARDED)])
def test_what_is_written_beside_the_training_is_what_was_when_it_was_saved(folder, tmp_path, count, settings):
    """Two updates, a reset of the reference and of the optimizer come before the first byte is written."""
    before = run_ranks(saving_scenarios.saved_beside, count, folder, settings, tmp_path)
    after = run_ranks(checkpoint_scenarios.restored, count, folder, settings, tmp_path)
    for one, other in zip(before, after, strict=True):
        assert one["early"] == (None, False)
        assert (one["waited"], one["again"]) == (one["path"], None)
        for name in ("updates", "steps", "draws", "then"):
            assert other[name] == one[name], name
        for name in ("policy", "reference", "moved"):
            assert all(torch.equal(tensor, other[name][key]) for key, tensor in one[name].items()), name


@pytest.mark.parametrize(("count", "settings"), [(1, {}), (2, {})])
def test_at_most_one_is_in_flight_and_the_last_is_waited_for(folder, tmp_path, count, settings):
    for told in run_ranks(saving_scenarios.one_after_the_other, count, folder, settings, tmp_path):
        assert told == {"most": 1, "left": ["iter_0000004", "iter_0000005"]}


@pytest.mark.parametrize(("count", "rank"), [(1, 0), (2, 0), (2, 1)])
def test_a_disk_that_gets_full_beside_the_training_is_an_error_on_every_rank(folder, tmp_path, count, rank):
    for told in run_ranks(saving_scenarios.full_disk_beside, count, folder, {}, tmp_path, rank, timeout_seconds=60):
        for number, place in enumerate(("boundary", "save", "leave"), start=2):
            assert f"the checkpoint of step {number} could not be written" in told["told"][place]
            assert f"(rank {rank})" in told["told"][place]
        assert told["left"] == ["index.json", "iter_0000001", "latest_checkpointed_iteration.txt"]
        assert told["again"].name == "iter_0000008"


def test_one_flipped_bit_of_any_file_is_named_and_the_one_before_is_taken(folder, tmp_path):
    """And the one before stays until another whole one is there, though only one is to be kept."""
    told = run_ranks(saving_scenarios.flipped, 2, folder, TP2, tmp_path)[0]
    kinds = {
        "common.pt",
        "metadata.json",
        "manifest.json",
        "state.json",
        ".metadata",
        "run_config.yaml",
        "train_state.pt",
    }
    assert kinds | {"rng_00000.pt", "rng_00001.pt", "__0_0.distcp", "__1_0.distcp"} == told["told"].keys()
    for name, (found, said) in told["told"].items():
        assert found == "iter_0000001", name
        assert "iter_0000002 is broken and passed over" in said
        assert name in said or name == "manifest.json", said
    assert told["found"] == "iter_0000001"
    assert told["before"] == ["iter_0000001", "iter_0000002"]
    assert told["after"] == ["iter_0000003"]


@pytest.mark.parametrize(
    ("count", "settings"),
    [(1, {}), (1, {"precision": "bf16", **SHARDED}), (2, TP2), (2, {"pipeline_parallel_size": 2})],
)
def test_the_policy_of_the_best_checkpoint_comes_back_as_policy_and_as_reference(folder, tmp_path, count, settings):
    """Steps 2 and 3 scored the same, so 2 is the best; 4 is the last. Moments stay, and master weights follow."""
    for told in run_ranks(saving_scenarios.brought_back, count, folder, settings, tmp_path):
        assert all(told[name] for name in ("differs", "untouched", "reference", "policy")), told
        assert told["steps"] == {4.0}
        assert 0 < told["moved"] < 0.02, "the next update starts from it, and not from former master weights"
        index = json.loads(told["index"])
        assert {name: entry["kept_because"] for name, entry in index.items()} == {
            "iter_0000002": ["best 1 of 1"],
            "iter_0000004": ["last 1 of 1"],
        }
        assert (index["iter_0000002"]["score"], index["iter_0000004"]["score"]) == (0.7, None)
