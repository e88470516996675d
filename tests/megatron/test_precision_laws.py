"""What holds in bf16 as in fp32: old, policy and reference logprobs are one and the same before the first update."""

from __future__ import annotations

import pytest
import torch

from tests.megatron import precision_scenarios, scenarios
from tests.processes import run_ranks
from tests.tiny_models import tiny_hf_folder

pytestmark = pytest.mark.processes

BF16 = precision_scenarios.BF16
# The packs of a whole step are others than those of its parts: rows of both parts fit one.
ALONE = [
    BF16,
    {"precision": "fp32"},
    {**BF16, "recompute": "full"},
    {**BF16, "max_tokens_per_microbatch": 1000},
    {**BF16, "packing": False},
]
TWO_RANKS = {
    "TP2": {"tensor_parallel_size": 2},
    "TP2, sequence parallel": {"tensor_parallel_size": 2, "sequence_parallel": True},
    "PP2, two virtual stages": {"pipeline_parallel_size": 2, "virtual_pipeline_size": 2},
    "CP2": {"context_parallel_size": 2},
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_hf_folder(tmp_path_factory.mktemp("model"), "qwen2", tied=True, layers=4, hidden_size=64)


def assert_on_policy(told):
    first, second = told["updates"]
    assert first == 0.0, "the ratio of the first update is 1, exactly"
    assert second != 0.0 or not told["computed"], "and that of the second is not"
    assert told["reference"] == 0.0
    assert told["dtypes"] == {torch.float32}


def test_old_policy_and_reference_logprobs_are_the_same_bits(folder):
    (told,) = run_ranks(precision_scenarios.ratios_of_updates, 1, folder, ALONE)
    for layout in told:
        assert_on_policy(layout)


@pytest.mark.parametrize("cut", TWO_RANKS)
def test_that_holds_on_two_ranks_however_the_model_is_cut(folder, cut):
    for rank in run_ranks(precision_scenarios.ratios_of_updates, 2, folder, [{**BF16, **TWO_RANKS[cut]}]):
        assert_on_policy(*rank)


def test_below_fp32_everything_that_adds_up_is_fp32(folder):
    for settings in (BF16, {**BF16, "distributed_optimizer": True}):
        (found,) = run_ranks(precision_scenarios.state_dtypes, 1, folder, settings)
        assert found["weights"] == found["handed out"] == {torch.bfloat16}
        assert found["gradients"] == found["masters"] == found["moments"] == {torch.float32}
        assert torch.bfloat16 not in found["saved"]


def test_what_is_loaded_is_kept_for_the_masters_of_8_bit_weights(folder):
    assert run_ranks(precision_scenarios.kept_for_masters, 1, folder) == [(True, False)]


def test_bf16_is_near_fp32(folder):
    """The figures that tests/gpu asks of bf16 and FP8, asked of bf16 on a CPU."""
    fp32, bf16 = (
        run_ranks(precision_scenarios.scored_and_differentiated, 1, folder, {"precision": precision})[0]
        for precision in ("fp32", "bf16")
    )
    found = precision_scenarios.apart(bf16, fp32)
    assert found["gradient_cosine"] >= 0.99
    assert 0 < found["logprob_error_mean"] < 0.02
    assert found["logprob_error_max"] < 0.1


@pytest.mark.parametrize("distributed", [False, True])
def test_losses_fall_in_bf16_as_in_fp32_from_masters_that_are_the_weights(folder, distributed):
    (fp32,) = run_ranks(scenarios.losses, 1, folder, {}, 3)
    settings = {**BF16, "distributed_optimizer": distributed}
    (told,) = run_ranks(precision_scenarios.masters_and_losses, 1, folder, settings)
    assert (told["masters_apart"], told["weights_apart"], told["kind"]) == (0.0, 0.0, "torch")
    assert told["losses"] == sorted(told["losses"], reverse=True)
    assert told["losses"] == pytest.approx(fp32, rel=0.02)
