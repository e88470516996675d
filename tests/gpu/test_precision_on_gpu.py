"""bf16 and FP8 on a CUDA device: near fp32, the same bits before and in the first update, and fit to go on."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.testing import assert_close

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.machine import Machine, machine_problems
from tests.megatron import checkpoint_scenarios, optimizer_scenarios, precision_scenarios
from tests.processes import run_ranks
from tests.tiny_models import tiny_hf_folder

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device"),
]
FP8 = ("tensorwise", "blockwise", "mxfp8")
# Of |logprob - fp32's|, of a model of four layers: the mean and the largest.
NEAR = {"bf16": (0.02, 0.15), **{recipe: (0.06, 0.5) for recipe in FP8}}
LAYOUTS: dict[str, tuple[int, dict[str, Any]]] = {
    "alone": (1, {}),
    "one microbatch": (1, {"max_tokens_per_microbatch": 1000}),
    "recomputed": (1, {"recompute": "full"}),
    "bf16 at both ends": (1, {"fp8": {"bf16_end_layers": 1}}),
    "TP2, sequence parallel": (2, {"tensor_parallel_size": 2, "sequence_parallel": True}),
    "PP2, two virtual stages": (2, {"pipeline_parallel_size": 2, "virtual_pipeline_size": 2}),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Matrices in multiples of 128, also when two ranks hold them."""
    sizes = {"layers": 4, "hidden_size": 256, "ffn_size": 512, "heads": 4, "kv_heads": 2, "head_dim": 64}
    return tiny_hf_folder(tmp_path_factory.mktemp("model"), "qwen2", tied=True, **sizes)


def settings_of(precision: str, more: dict[str, Any] | None = None) -> dict[str, Any]:
    """`precision` is bf16 or the name of an FP8 recipe; skips what this machine can't compute."""
    more = dict(more or {})
    fp8 = {"recipe": precision, **more.pop("fp8", {})} if precision in FP8 else None
    named = {"precision": "fp8_hybrid", "fp8": fp8} if fp8 else {"precision": precision}
    settings = {"device": "cuda", **named, **more}
    problems = list(machine_problems(MegatronConfig(**settings), Machine.found(torch.device("cuda", 0))))
    if problems:
        pytest.skip(problems[0])
    return settings


def run(function: Any, count: int, *arguments: Any) -> list[Any]:
    if count > torch.cuda.device_count():
        pytest.skip(f"needs {count} GPUs")
    return run_ranks(function, count, *arguments, start_method="spawn", timeout_seconds=600)


@pytest.mark.parametrize("precision", NEAR)
def test_logprobs_and_gradients_are_near_those_of_fp32(folder: Path, precision: str) -> None:
    settings = settings_of(precision)
    (low,) = run(precision_scenarios.scored_and_differentiated, 1, folder, settings)
    (fp32,) = run(precision_scenarios.scored_and_differentiated, 1, folder, {"device": "cuda", "precision": "fp32"})
    found = precision_scenarios.apart(low, fp32)
    print({name: round(value, 5) for name, value in found.items()})
    mean, largest = NEAR[precision]
    assert found["gradient_cosine"] >= 0.99
    assert 0 < found["logprob_error_mean"] < mean
    assert found["logprob_error_max"] < largest


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("precision", NEAR)
def test_old_policy_and_reference_logprobs_are_the_same_bits(folder: Path, precision: str, layout: str) -> None:
    count, more = LAYOUTS[layout]
    if precision not in FP8 and "fp8" in more:
        pytest.skip("of FP8 alone")
    for (told,) in run(precision_scenarios.ratios_of_updates, count, folder, [settings_of(precision, more)]):
        first, second = told["updates"]
        assert first == 0.0
        assert second != 0.0 or not told["computed"]
        assert told["reference"] == 0.0
        assert told["dtypes"] == {torch.float32}


@pytest.mark.parametrize("precision", NEAR)
def test_everything_that_adds_up_is_fp32(folder: Path, precision: str) -> None:
    (found,) = run(precision_scenarios.state_dtypes, 1, folder, settings_of(precision, {"distributed_optimizer": True}))
    assert found["weights"] == found["handed out"] == {torch.bfloat16}
    assert found["gradients"] == found["masters"] == found["moments"] == {torch.float32}


@pytest.mark.parametrize("recipe", FP8)
def test_8_bit_parameters_have_masters_of_what_was_loaded_and_lower_the_loss(folder: Path, recipe: str) -> None:
    """What was read from the folder is in the masters to bf16's last bit, and in the weights to FP8's."""
    settings = settings_of(recipe, {"fp8": {"parameters": True}, "distributed_optimizer": True})
    (told,) = run(precision_scenarios.masters_and_losses, 1, folder, settings)
    assert told["masters_apart"] == 0.0
    assert 0 < told["weights_apart"] < 0.1
    assert told["losses"] == sorted(told["losses"], reverse=True)


@pytest.mark.parametrize("distributed", [False, True])
def test_a_reset_optimizer_is_a_fresh_one_whoevers_adam_it_is(folder: Path, distributed: bool) -> None:
    settings = settings_of("bf16", {"distributed_optimizer": distributed})
    (told,) = run(optimizer_scenarios.reset_and_snapshot, 1, folder, settings)
    assert torch.equal(told["policy"], told["reference, reset"])
    (losses_reset, weights_reset), (losses_fresh, weights_fresh) = told["after reset"], told["after fresh"]
    for one, other in zip(losses_reset, losses_fresh, strict=True):
        assert one == pytest.approx(other, rel=1e-3)  # atomic additions on a GPU have no order
    for name, tensor in weights_reset.items():
        assert_close(tensor, weights_fresh[name], rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize("distributed", [False, True])
@pytest.mark.parametrize("reset_after", [2, 3])
def test_an_optimizer_that_was_reset_is_saved_and_goes_on(
    folder: Path, tmp_path: Path, distributed: bool, reset_after: int
) -> None:
    settings = settings_of("bf16", {"distributed_optimizer": distributed})
    (before,) = run(checkpoint_scenarios.saved, 1, folder, settings, tmp_path, reset_after)
    (after,) = run(checkpoint_scenarios.restored, 1, folder, settings, tmp_path)
    assert (after["updates"], after["steps"]) == (3, {3.0 - reset_after})
    for one, other in zip(before["then"], after["then"], strict=True):
        assert one == pytest.approx(other, rel=1e-3)


def test_adam_is_transformer_engines_where_it_is_installed_then_apexs_then_torchs(folder: Path) -> None:
    (told,) = run(precision_scenarios.masters_and_losses, 1, folder, settings_of("bf16"))
    fused = (name for name in ("transformer_engine", "apex") if importlib.util.find_spec(name) is not None)
    assert told["kind"] == next(fused, "torch")


def test_a_rank_gives_everything_back_and_can_begin_again(folder: Path) -> None:
    """Process groups, CUDA memory and streams: three runs in one process leave no more than one does."""
    (left,) = run(precision_scenarios.memory_left, 1, folder, settings_of("bf16"), 3)
    assert left[2] <= left[0] + (1 << 20)
