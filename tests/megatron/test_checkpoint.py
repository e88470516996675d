"""Checkpoints: what is saved comes back, in any layout; what is torn is passed over; a full disk leaves nothing."""

import json

import pytest
import torch
from torch.testing import assert_close

from tests.megatron import checkpoint_scenarios as scenarios
from tests.processes import RankFailed, run_ranks
from tests.tiny_models import tiny_hf_folder

pytestmark = pytest.mark.processes

TP2_PP2 = {"tensor_parallel_size": 2, "pipeline_parallel_size": 2}
SHARDED = {"distributed_optimizer": True}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_hf_folder(tmp_path_factory.mktemp("model"), "qwen2", tied=True)


@pytest.mark.parametrize(
    ("count", "settings", "reset_after"),
    [
        (1, {}, 2),
        (1, {}, 3),
        (1, {"precision": "bf16"}, 3),
        (1, {"precision": "bf16", **SHARDED}, 2),
        (2, {"tensor_parallel_size": 2}, 2),
        (2, {"pipeline_parallel_size": 2}, 2),
        (2, SHARDED, 3),
    ],
)
def test_a_run_goes_on_as_if_it_had_never_stopped(folder, tmp_path, count, settings, reset_after):
    """In the same layout: weights, reference, moments, step counts, random states and what follows, bit for bit.

    Also when the checkpoint is taken right after a reset, where the optimizer's step count is 0.
    """
    before = run_ranks(scenarios.saved, count, folder, settings, tmp_path, reset_after)
    after = run_ranks(scenarios.restored, count, folder, settings, tmp_path)
    for one, other in zip(before, after, strict=True):
        assert other["state"] == scenarios.STATE
        for name in ("path", "world_draws", "updates", "steps", "draws", "then"):
            assert other[name] == one[name], name
        for name in ("policy", "reference", "moved"):
            assert all(torch.equal(tensor, other[name][key]) for key, tensor in one[name].items()), name
    assert (after[0]["updates"], after[0]["steps"]) == (3, {3.0 - reset_after})


def test_another_precision_goes_on_from_masters_where_it_can_and_is_refused_where_not(folder, tmp_path):
    """The distributed optimizer's masters are the same in both; those of the others are of another form."""
    for name, settings in (("sharded", {"precision": "bf16", **SHARDED}), ("plain", {"precision": "bf16"})):
        run_ranks(scenarios.saved, 1, folder, settings, tmp_path / name, 2)
    (bf16,) = run_ranks(scenarios.restored, 1, folder, {"precision": "bf16", **SHARDED}, tmp_path / "sharded")
    (fp32,) = run_ranks(scenarios.restored, 1, folder, SHARDED, tmp_path / "sharded")
    assert (fp32["updates"], fp32["steps"]) == (bf16["updates"], bf16["steps"])
    for name, tensor in fp32["policy"].items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor.bfloat16(), bf16["policy"][name]), name
    assert any(not torch.equal(tensor, tensor.bfloat16().float()) for tensor in fp32["policy"].values())
    with pytest.raises(RankFailed, match="written with precision bf16, distributed_optimizer=False, and this run has"):
        run_ranks(scenarios.restored, 1, folder, {}, tmp_path / "plain")


VIRTUAL = {"pipeline_parallel_size": 2, "virtual_pipeline_size": 2}


@pytest.mark.parametrize(
    ("count", "settings"), [(2, {**VIRTUAL, **SHARDED}), (2, {"context_parallel_size": 2}), (1, {"recompute": "full"})]
)
def test_chunks_of_a_stage_and_tied_embeddings_come_back_as_they_were(tmp_path, count, settings):
    """Tied embeddings have a gradient bucket of their own, beside another that is padded."""
    deeper = tiny_hf_folder(tmp_path / "deeper", "qwen2", tied=True, layers=4)
    before = run_ranks(scenarios.saved, count, deeper, settings, tmp_path, 2)
    after = run_ranks(scenarios.restored, count, deeper, settings, tmp_path)
    for one, other in zip(before, after, strict=True):
        assert other["then"] == one["then"]
        for name in ("policy", "reference", "moved"):
            assert all(torch.equal(tensor, other[name][key]) for key, tensor in one[name].items()), name


@pytest.mark.parametrize(
    ("saved", "restored"),
    [
        ((4, TP2_PP2), (1, {})),
        ((1, {}), (4, TP2_PP2)),
        ((2, {"tensor_parallel_size": 2}), (2, {"pipeline_parallel_size": 2})),
        ((2, SHARDED), (1, SHARDED)),
        ((1, SHARDED), (2, {"tensor_parallel_size": 2, **SHARDED})),
    ],
)
def test_a_checkpoint_can_be_read_in_another_layout(folder, tmp_path, saved, restored):
    """Weights exactly; what follows as closely as arithmetic allows, so moments and step counts are there too."""
    before = run_ranks(scenarios.saved, saved[0], folder, saved[1], tmp_path)[0]
    for after in run_ranks(scenarios.restored, restored[0], folder, restored[1], tmp_path):
        assert (after["updates"], after["steps"], after["state"]) == (3, {1.0}, scenarios.STATE)
        for name in ("policy", "reference"):
            assert all(torch.equal(tensor, after[name][key]) for key, tensor in before[name].items()), name
        for one, other in zip(before["then"], after["then"], strict=True):
            assert other == pytest.approx(one, rel=1e-4)
        for key, tensor in before["moved"].items():
            assert_close(after["moved"][key], tensor, atol=2e-5, rtol=0, msg=key)  # an update moves by about 1e-3


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("truncated", "instead of"),
        ("altered", "checksum"),
        ("lacks a file", "is missing"),
        ("lacks its manifest", "never finished"),
        ("was being written", None),
    ],
)
def test_a_torn_checkpoint_is_named_and_passed_over(folder, tmp_path, kind, said):
    rank = run_ranks(scenarios.torn, 1, folder, tmp_path, kind)[0]
    assert (rank["newest"], rank["found"]) == ("iter_0000002", "iter_0000001")
    if said is not None:
        (message,) = rank["messages"]
        assert "iter_0000002" in message
        assert said in message
    assert not [name for name in rank["left"] if name.endswith(".partial")]


@pytest.mark.parametrize(
    ("count", "settings", "rank", "limit"),
    [
        (1, {}, 0, 0),
        (1, {}, 0, 20_000),
        (2, {"tensor_parallel_size": 2}, 0, 0),
        (2, {"tensor_parallel_size": 2}, 1, 20_000),
        (2, {}, 1, 100),
    ],
)
def test_a_disk_that_gets_full_leaves_nothing_half_written(folder, tmp_path, count, settings, rank, limit):
    """No rank hangs, each says why, the checkpoint before stays the newest, and with room again all goes on."""
    for told in run_ranks(scenarios.full_disk, count, folder, settings, tmp_path, rank, limit, timeout_seconds=60):
        assert "the checkpoint of step 2 could not be written" in told["error"]
        reasons = [f"{reason} (rank {rank})" for reason in ("File too large", "the disk is probably full")]
        assert any(reason in told["error"] for reason in reasons)
        assert told["left"] == ["index.json", "iter_0000001", "latest_checkpointed_iteration.txt"]
        assert (told["newest"], told["again"]) == ("iter_0000001", "iter_0000002")


def test_the_last_ones_stay(folder, tmp_path):
    left = run_ranks(scenarios.kept, 1, folder, tmp_path)[0]
    assert left == ["index.json", "iter_0000010", "iter_0000011", "latest_checkpointed_iteration.txt"]
    assert (tmp_path / "latest_checkpointed_iteration.txt").read_text() == "11\n"
    assert json.loads((tmp_path / "iter_0000011" / "metadata.json").read_text())["sharded_backend"] == "torch_dist"


def test_a_checkpoint_that_does_not_fit_is_refused(folder, tmp_path):
    other = tiny_hf_folder(tmp_path / "other", "qwen2", tied=True, ffn_size=96)
    messages = run_ranks(scenarios.refused, 1, folder, other, tmp_path / "checkpoints")[0]
    assert len(messages) == 2
    assert all("iter_0000001 does not fit this run" in message for message in messages)


def test_a_broken_future_is_removed_and_keeps_no_whole_checkpoint_out(folder, tmp_path):
    """10 is broken, so the run goes on from 5: the next save leaves 6, not the broken 10, whatever lies about."""
    assert run_ranks(scenarios.left_behind, 1, folder, tmp_path)[0] == [
        (["iter_0000005", "iter_0000010"], "iter_0000005"),
        (["iter_0000005", "iter_0000010"], "iter_0000005"),
        (["iter_0000006"], "iter_0000006"),
        (["iter_0000008", "iter_0000012"], "iter_0000012"),
        (["iter_0000008", "iter_0000012"], "iter_0000012"),
    ]


@pytest.mark.parametrize(("count", "settings"), [(1, {}), (2, {"tensor_parallel_size": 2})])
def test_a_run_whose_checkpoints_are_all_broken_does_not_begin_anew(folder, tmp_path, count, settings):
    told = run_ranks(scenarios.all_broken, count, folder, settings, tmp_path / "checkpoints")
    assert all(rank == told[0] for rank in told)
    nothing, unfinished, broken, unreadable = told[0]
    assert nothing is None
    assert unfinished is None
    assert f"no whole checkpoint among the 2 in {tmp_path / 'checkpoints'}" in broken
    assert "iter_0000002: manifest.json is missing" in broken
    assert "checksum" in broken
    assert "choose another run.dir, or delete the folder" in broken
    assert "can't be read: NotADirectoryError" in unreadable


def test_what_can_not_be_tidied_up_is_a_warning(folder, tmp_path):
    told = run_ranks(scenarios.untidy, 1, folder, tmp_path)[0]
    assert (told["saved"], told["newest"]) == ("iter_0000002", True)
    for words in ("latest_checkpointed_iteration.txt can't be brought up", "iter_0000001 can't be removed"):
        assert any(words in message for message in told["messages"]), words
