"""The presets for GPUs (conf/megatron/CHIP_xCOUNT_MODEL.yaml) are valid and fit, by the shapes of the models."""

from __future__ import annotations

import pytest

from nemo_prorl.commands.engine_memory import RolloutKnobs, engine_memory
from nemo_prorl.commands.plan import training_plan
from nemo_prorl.config.folder import options_in
from nemo_prorl.config.load import load_config
from nemo_prorl.config.precision import FP8Config
from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.errors import SettingsError
from nemo_prorl.megatron.chips import CHIPS
from nemo_prorl.megatron.layout import fitting_architecture
from nemo_prorl.megatron.memory import EngineMemory
from nemo_prorl.weights.architecture import Architecture
from tests.house.source import ROOT
from tests.published_shapes import QWEN_1_5B, QWEN_7B, folder_with

PRESETS = [name for name in options_in([ROOT / "conf"])["megatron"] if name not in ("cpu", "gpu")]
# The completions whose cache fits beside the weights, all of them as long as run 8 allows.
SEQUENCES = {"1.5b": 128, "7b": 32}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    return {"1.5b": folder_with(QWEN_1_5B, folder / "1.5b"), "7b": folder_with(QWEN_7B, folder / "7b")}


def chosen(models, preset, model, *more):
    """The paper's whole recipe with a preset."""
    choices = ["recipe=prorl", f"megatron={preset}", f"model.path='{models[model]}'", "rollout=transformers"]
    knobs = ["rollout.dtype=bf16", f"rollout.max_batch_sequences={SEQUENCES[model]}"]
    return load_config("train", [*choices, *knobs, *more])


def in_eight_bits(config, recipe):
    """The same in FP8."""
    megatron = {"precision": "fp8_hybrid", "fp8": FP8Config(recipe=recipe)}
    return config.model_copy(update={"megatron": config.megatron.model_copy(update=megatron)})


def test_there_is_a_preset_for_every_chip_count_and_model_that_fit():
    sizes = {(chip, f"x{count}", "1.5b") for chip in ("h100", "h200") for count in (1, 8, 32)}
    sizes |= {(chip, f"x{count}", "7b") for chip in ("h100", "h200") for count in (8, 32)}
    assert {tuple(name.split("_")) for name in PRESETS} == sizes


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_is_valid_for_its_model_and_fits_its_chip_in_bf16_and_in_fp8(models, preset):
    chip, count, model = preset.split("_")
    ranks = int(count.removeprefix("x"))
    config = chosen(models, preset, model)
    assert (config.megatron.chip, config.megatron.precision) == (chip, "bf16")
    assert config.megatron.distributed_optimizer
    fits = f"fits into the {CHIPS[chip].usable_bytes / 2**30:.1f} GiB of {chip}"
    assert fits in training_plan(config, {"WORLD_SIZE": str(ranks)})
    plan = training_plan(in_eight_bits(config, "tensorwise"), {"WORLD_SIZE": str(ranks)})
    assert "fp8_hybrid, scaled tensorwise" in plan and fits in plan
    fitting_architecture(in_eight_bits(config, "blockwise"), ranks)


def test_a_preset_serves_a_cold_start_too_which_may_scale_by_earlier_passes(models):
    choices = ["sft=jsonl", "sft.source.path=FILE", "megatron=h100_x8_1.5b", f"model.path='{models['1.5b']}'"]
    config = load_config("sft", choices)
    assert fitting_architecture(in_eight_bits(config, "delayed"), 8).family == "qwen2"
    with pytest.raises(SettingsError, match="prorl sft takes delayed"):
        fitting_architecture(in_eight_bits(chosen(models, "h100_x8_1.5b", "1.5b"), "delayed"), 8)


@pytest.mark.parametrize("chip", ["h100", "h200"])
def test_7b_does_not_fit_one_gpu_and_the_plan_says_so(models, chip):
    """18 bytes for each of 7.6 billion weights are 128 GiB before anything is computed, and an engine needs 14 more."""
    more = ["megatron.recompute=full", "megatron.offload=[optimizer, gradients, reference]"]
    plan = training_plan(chosen(models, f"{chip}_x1_1.5b", "7b", *more), {})
    assert "parameters 14.2 GiB, rollout engine 14.2 GiB, gradients 28.4 GiB, optimizer 85.1 GiB" in plan
    assert f"DOES NOT FIT into the {CHIPS[chip].usable_bytes / 2**30:.1f} GiB of {chip}" in plan


def test_what_an_engine_keeps_is_counted_or_said_to_be_unknown(models):
    """Scripted answers need nothing that we know of; transformers a copy of the weights, and 28 layers x 2 x 256
    numbers in bf16 for each of 4 x 16,384 tokens: 1.75 GiB."""
    plan = training_plan(chosen(models, "h200_x1_1.5b", "1.5b", "rollout.max_batch_sequences=4"), {})
    assert "rollout engine 3.3 GiB" in plan
    config = load_config(
        "train", ["recipe=prorl", "megatron=gpu", f"model.path='{models['1.5b']}'", "rollout=scripted"]
    )
    assert "besides: what the rollout engine scripted needs" in training_plan(config, {})


def test_of_an_engine_of_ones_own_in_a_format_of_its_own_nothing_is_said():
    knobs = RolloutKnobs("mine:Engine", {"max_batch_sequences": 8, "dtype": "int4"})
    found = engine_memory(knobs, Architecture.from_hf_config(QWEN_1_5B, "a test's"), 1024, MegatronConfig())
    assert found == (EngineMemory(), "what the rollout engine mine:Engine needs")
