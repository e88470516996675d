"""The estimate of memory, worked out by hand, and against what ranks really hold."""

from __future__ import annotations

import pytest

from nemo_prorl.config.precision import FP8Config
from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.memory import EngineMemory, MemoryEstimate
from nemo_prorl.weights.architecture import Architecture
from tests.megatron import memory_scenarios
from tests.processes import run_ranks
from tests.published_shapes import BY_HAND, QWEN_1_5B
from tests.tiny_models import tiny_hf_folder

TINY = Architecture.from_hf_config(BY_HAND, "here")
# Embeddings 2 x 12 x 4 (padded from 10) = 96, final norm 4, two layers of 128: q 16, k 8, v 8, o 16, MLP 72, norms 8.
COUNT = 356


def estimate(*, data_parallel_size=1, **settings):
    config = MegatronConfig(**{"vocabulary_multiple": 4, "max_tokens_per_microbatch": 10, **settings})
    return MemoryEstimate(TINY, config, data_parallel_size)


def test_what_lasts_by_hand():
    """bf16: 2 bytes a weight, 4 a gradient, 12 for master and moments. fp32: 4, 4 and 8."""
    for settings, sizes in (({"precision": "bf16"}, (2, 4, 12)), ({}, (4, 4, 8))):
        one = estimate(**settings)
        assert (one.parameters(), one.gradients(), one.optimizer()) == tuple(size * COUNT for size in sizes)


def test_the_distributed_optimizer_is_shared_out():
    """8 x 356 = 2848 bytes, over 4 ranks 712."""
    assert estimate(data_parallel_size=4).optimizer() == 2848
    assert estimate(data_parallel_size=4, distributed_optimizer=True).optimizer() == 712


def test_a_layers_activations_by_hand():
    """On a CPU a token keeps 4 x 4 + 2 x 4 + 2 x 2 + 2 x 6 = 40 numbers; with our layers on a GPU 6 more, the product;
    with Transformer Engine q, k and v twice: 16 + 12 + 6 + 18 = 52."""
    assert estimate(device="cpu").layer_activations() == 10 * 40 * 4
    assert estimate(device="cuda").layer_activations() == 10 * 46 * 4
    assert estimate(device="cuda", precision="bf16").layer_activations() == 10 * 52 * 2


def test_activations_of_all_layers_by_hand():
    """Two layers of 52 numbers a token in bf16; a backward pass through one needs 3 x 6 + 2 x 4; 3 x 4 at the ends.
    Recomputed, each layer keeps its input of 4, and one of them all 52 while it is computed again."""
    usual = {"device": "cuda", "precision": "bf16"}
    assert estimate(**usual).activations() == 10 * 2 * (2 * 52 + 26 + 12)
    assert estimate(**usual, recompute="full").activations() == 10 * 2 * (2 * 4 + 52 + 26 + 12)


def test_eight_bits_by_hand():
    """A layer's matrices: 48 + 72 = 120 numbers, of two layers 240, kept in 8 bits and transposed. In 8 bits: both
    norms' results (8) and the product (6), and a copy of attention's result (4): 52 x 2 - 14 + 4 bytes a token."""
    one = estimate(device="cuda", precision="fp8_hybrid")
    assert one.eight_bit_copies() == 2 * 240
    assert one.parameters() == 2 * COUNT
    assert one.layer_activations() == 10 * (104 - 14 + 4)
    kept = estimate(device="cuda", precision="fp8_hybrid", fp8=FP8Config(parameters=True))
    assert (kept.parameters(), kept.eight_bit_copies()) == (2 * COUNT - 240, 240)
    ends = estimate(device="cuda", precision="fp8_hybrid", fp8=FP8Config(bf16_end_layers=1))
    assert ends.eight_bit_copies() == 0
    cut = estimate(device="cuda", precision="fp8_hybrid", fp8=FP8Config(bf16_end_layers=1), pipeline_parallel_size=2)
    assert cut.eight_bit_copies() == 0, "either stage has one of the model's ends"


def test_a_chip_that_is_planned_for_makes_it_a_gpus_estimate():
    """Of `device: auto` it can't be known here what it will find; with a chip named, that is."""
    for planned, device in (({"chip": "h100"}, "cuda"), ({}, "cpu")):
        of_auto, expected = (estimate(precision="bf16", **where) for where in (planned, {"device": device}))
        assert (of_auto.activations(), of_auto.logits()) == (expected.activations(), expected.logits())


def test_phases_hold_what_they_need():
    """Offloaded, optimizer and gradients are there in updates alone; a reference comes for scoring."""
    engine = EngineMemory(weights=1000, cache=500)
    rollout, scoring, update = estimate().of_step(reference=True, base=True, engine=engine)
    assert rollout.parts == {
        "parameters": 4 * COUNT,
        "8-bit copies": 0,
        "reference": 4 * COUNT,
        "rollout engine": 1000,
        "gradients": 4 * COUNT,
        "optimizer": 8 * COUNT,
        "cache": 500,
    }
    assert scoring.parts["fetched copy"] == 4 * COUNT
    assert update.total == 20 * COUNT + 1000 + update.parts["activations"] + update.parts["logits"]
    moved = estimate(device="cuda", offload=["optimizer", "gradients", "reference"]).of_step(reference=True)
    assert [phase.parts.get("optimizer", 0) > 0 for phase in moved] == [False, False, True]
    assert [phase.parts["reference"] for phase in moved] == [0, 0, 0]
    assert moved.phases[1].parts["fetched copy"] == 4 * COUNT
    assert moved.fullest.name == "update"


def test_logits_of_16k_tokens_of_the_papers_model_take_less_than_2_gib():
    """883 tokens at a time: 151,936 x (8 + 2) bytes each, and the output weight's gradient of 467 MB."""
    model = Architecture.from_hf_config(QWEN_1_5B, "here")
    config = MegatronConfig(device="cuda", precision="bf16", max_tokens_per_microbatch=16_384)
    logits = MemoryEstimate(model, config).logits()
    assert logits == 883 * 151_936 * 10 + 151_936 * 1536 * 2 < 2 << 30


LAYOUTS = {
    "one rank, fp32": (1, {}),
    "one rank, bf16": (1, {"precision": "bf16"}),
    "TP2, bf16": (2, {"precision": "bf16", "tensor_parallel_size": 2}),
    "PP2": (2, {"pipeline_parallel_size": 2}),
    "DP2, distributed optimizer, bf16": (2, {"precision": "bf16", "distributed_optimizer": True}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """1.2 M parameters, in the proportions of the paper's model."""
    sizes = {"hidden_size": 128, "ffn_size": 768, "layers": 4, "max_position_embeddings": 1024}
    return tiny_hf_folder(tmp_path_factory.mktemp("model"), "qwen2", tied=False, **sizes)


@pytest.mark.processes
@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_estimate_is_what_ranks_hold(folder, layout):
    count, settings = LAYOUTS[layout]
    ranks = run_ranks(memory_scenarios.estimated_and_held, count, folder, settings, 512)
    for part in ("parameters", "gradients", "optimizer", "reference"):
        expected = ranks[0][part][0]
        fullest = max(rank[part][1] for rank in ranks)
        # A buffer is padded to multiples of 64 numbers for each rank, once a bucket.
        assert expected == pytest.approx(fullest, abs=4 * 64 * 12 * count), part
    if count == 1:
        expected, held = ranks[0]["kept for backward"]
        assert expected == pytest.approx(held, rel=0.1)
