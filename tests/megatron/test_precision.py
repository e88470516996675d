"""The table of precisions against Megatron's own checks, and what is refused before a model is built."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest
import torch
from megatron.core.distributed import DistributedDataParallelConfig
from megatron.core.enums import Fp8Recipe
from megatron.core.fp8_utils import get_fp8_align_size
from megatron.core.optimizer import OptimizerConfig as MegatronOptimizerConfig
from megatron.core.transformer.transformer_config import TransformerConfig
from pydantic import ValidationError

from nemo_prorl.config.load import load_config
from nemo_prorl.config.precision import FP8Config
from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.errors import ConfigError, SettingsError
from nemo_prorl.megatron.chips import CHIPS, chip_named
from nemo_prorl.megatron.layout import fitting_architecture
from nemo_prorl.megatron.machine import Machine, chip_problems, machine_problems
from nemo_prorl.megatron.microbatch import packer_of
from nemo_prorl.megatron.precision import (
    PRECISIONS,
    RECIPES,
    ddp_settings,
    model_problems,
    optimizer_settings,
    transformer_settings,
)
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.weights.architecture import Architecture
from tests.published_shapes import QWEN_1_5B, QWEN_7B
from tests.tiny_models import tiny_hf_folder

HOPPER = Machine((9, 0), (13, 0), (2, 9, 0))
MODELS = {name: Architecture.from_hf_config(config, name) for name, config in (("1.5B", QWEN_1_5B), ("7B", QWEN_7B))}


def fp8(recipe="tensorwise", *, ends=0, parameters=False, **megatron):
    settings = {"device": "cuda", "distributed_optimizer": True, **megatron}
    one = FP8Config(recipe=recipe, bf16_end_layers=ends, parameters=parameters)
    return MegatronConfig(precision="fp8_hybrid", fp8=one, **settings)


def problems(config, *, model="1.5B", scores_again=True):
    return list(model_problems(MODELS[model], config, scores_again=scores_again))


def all_rows():
    """Every precision and recipe, with each of its switches."""
    yield from (MegatronConfig(precision=name) for name in ("fp32", "bf16"))
    yield from (fp8(name, ends=ends, parameters=kept) for name, ends, kept in product(RECIPES, (0, 1), (False, True)))


def transformer_config(config, layers=28):
    return TransformerConfig(
        num_layers=layers,
        hidden_size=1536,
        num_attention_heads=12,
        use_cpu_initialization=True,
        pipeline_model_parallel_size=config.pipeline_parallel_size,
        **transformer_settings(config),
    )


# -- what the table sets -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("config", list(all_rows()), ids=lambda config: f"{config.precision}-{config.fp8}")
@pytest.mark.filterwarnings("ignore:mxfp8 without using")
def test_megatron_accepts_what_we_accept_and_refuses_what_we_refuse(config):
    """Each of its three configurations checks itself at birth. It knows no reason against delayed but its layers."""
    refused = problems(config, scores_again=False)
    if refused:
        with pytest.raises(ValueError, match="Delayed scaling does not support first / last layer"):
            transformer_config(config)
        assert "doesn't go with recipe=delayed" in refused[0]
        return
    made = transformer_config(config)
    assert (made.bf16, made.params_dtype) == (config.precision != "fp32", PRECISIONS[config.precision].torch_dtype)
    assert made.fp8 == ("hybrid" if config.precision == "fp8_hybrid" else None)
    data_parallel = DistributedDataParallelConfig(**ddp_settings(config))
    optimizer = MegatronOptimizerConfig(**optimizer_settings(config))
    assert data_parallel.grad_reduce_in_fp32
    assert data_parallel.fp8_param_gather == made.fp8_param == (config.fp8.parameters and made.fp8 is not None)
    assert data_parallel.reuse_grad_buf_for_mxfp8_param_ag == optimizer.reuse_grad_buf_for_mxfp8_param_ag
    assert optimizer.main_params_dtype == optimizer.exp_avg_dtype == optimizer.exp_avg_sq_dtype == torch.float32
    assert not (optimizer.fp16 or made.fp16)


def test_every_recipe_is_one_of_megatrons_and_pads_at_least_as_it_does():
    for name, recipe in RECIPES.items():
        assert recipe.token_multiple % get_fp8_align_size(Fp8Recipe(name)) == 0
    assert {recipe.value for recipe in Fp8Recipe} - set(RECIPES) == {"custom"}


@pytest.mark.parametrize(("ends", "stages"), [(15, 2), (8, 4), (14, 1)])
def test_too_many_bf16_layers_are_refused_where_megatron_would_or_no_layer_were_left(ends, stages):
    config = fp8(ends=ends, pipeline_parallel_size=stages)
    (found,) = problems(config)
    most = min(28 // stages, 13)
    assert f"bf16_end_layers={ends}" in found and found.endswith(f"choose at most {most}")
    if ends > 28 // stages:
        with pytest.raises(ValueError, match="num_layers_at_start_in_bf16"):
            transformer_config(config)
    assert not problems(fp8(ends=most, pipeline_parallel_size=stages))


# -- what is refused ---------------------------------------------------------------------------------------------------


def test_fp16_is_refused_by_name_with_the_reason():
    with pytest.raises(ValidationError, match="fp16 is not offered: its largest number is 65,504"):
        MegatronConfig(precision="fp16")
    with pytest.raises(SettingsError, match=r"megatron.precision: fp16 is not offered.*Use bf16"):
        load_config("train", ["recipe=tiny", "model.path=FOLDER", "megatron.precision=fp16"])


def test_fp8_settings_without_fp8_are_refused():
    (found,) = problems(MegatronConfig(precision="bf16", fp8=FP8Config(recipe="mxfp8")))
    assert "megatron.precision=bf16 has no FP8" in found


def test_delayed_scaling_is_for_supervised_training_alone():
    (found,) = problems(fp8("delayed"))
    assert "isn't 1 before the first update" in found and "Use tensorwise or blockwise" in found
    assert not problems(fp8("delayed"), scores_again=False)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (fp8(parameters=True, distributed_optimizer=False), "needs megatron.distributed_optimizer=true"),
        (fp8(parameters=True, offload=["reference"]), "can't be moved to the host's memory"),
        (fp8(device="cpu"), "no CPU multiplies 8-bit numbers"),
    ],
)
def test_wrong_combinations_say_what_to_do(config, said):
    (found,) = problems(config)
    assert said in found


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize(("recipe", "tensor"), list(product(("tensorwise", "blockwise", "mxfp8"), (1, 2))))
def test_the_models_of_the_paper_fit_every_recipe(model, recipe, tensor):
    assert not problems(fp8(recipe, tensor_parallel_size=tensor), model=model)


def test_matrices_that_are_no_whole_blocks_are_named():
    """FFN 8960 = 70 x 128; cut in 4, 2240 = 17.5 x 128. Heads of 64: 12 x 64 = 768 queries, with 2 x 2 x 64 1024."""
    odd = replace(MODELS["1.5B"], ffn_size=8976, num_heads=10, num_kv_heads=2, head_dim=72)
    found = list(model_problems(odd, fp8("blockwise"), scores_again=True))
    assert [problem.split("but ")[1].split(";")[0] for problem in found] == [
        "the model's width of all query heads is 720",
        "the model's width of queries, keys and values is 1008",
        "the model's feed-forward size is 8976",
    ]
    assert not list(model_problems(odd, fp8("tensorwise"), scores_again=True))
    cut = list(
        model_problems(
            replace(MODELS["1.5B"], num_kv_heads=4), fp8("blockwise", tensor_parallel_size=4), scores_again=True
        )
    )
    assert (
        "a rank's (of 4) feed-forward size is 2240; choose another recipe or a smaller tensor_parallel_size" in cut[-1]
    )


@pytest.mark.parametrize(
    ("recipe", "chips"),
    [
        ("delayed", {"l40s", "h100", "h200", "b200"}),
        ("tensorwise", {"l40s", "h100", "h200", "b200"}),
        ("blockwise", {"h100", "h200", "b200"}),
        ("mxfp8", {"b200"}),
    ],
)
def test_each_recipe_has_its_chips(recipe, chips):
    refused = {name: list(chip_problems(fp8(recipe), chip.capability, name)) for name, chip in CHIPS.items()}
    assert {name for name, found in refused.items() if not found} == chips
    assert "Use megatron.precision=bf16" in refused["a100"][0]


def test_mxfp8_is_refused_on_chips_after_blackwell_and_on_hopper_with_what_they_can():
    (found,) = chip_problems(fp8("mxfp8"), (12, 0), "this GPU")
    assert "10.0 or above, below 12.0; this GPU has 12.0. Use megatron.fp8.recipe=tensorwise or blockwise" in found
    (found,) = machine_problems(fp8("mxfp8"), HOPPER)
    assert "needs compute capability 10.0 or above" in found


@pytest.mark.parametrize(
    ("config", "machine", "said"),
    [
        (fp8(), Machine(None, None, None), "this rank has none; use precision=bf16 or fp32"),
        (fp8(), replace(HOPPER, transformer_engine=None), "which isn't installed; scripts/build_gpu_host.sh builds it"),
        (fp8(), replace(HOPPER, transformer_engine=(2, 12, 0)), "which is 2.12.0 here"),
        (
            fp8("blockwise"),
            replace(HOPPER, cuda=(12, 8)),
            "needs CUDA 12.9 or later, torch was built for 12.8; install a newer build of torch, or choose "
            "recipe=tensorwise",
        ),
        (fp8("tensorwise"), replace(HOPPER, cuda=(11, 8)), "a newer build of torch, or choose precision=bf16"),
        (
            MegatronConfig(offload=["gradients", "optimizer"]),
            Machine(None, None, None),
            "megatron.offload=['optimizer'] moves what lies on a GPU to the host, and this rank has none",
        ),
        (MegatronConfig(precision="bf16"), Machine((7, 5), (12, 8), None), "needs compute capability 8.0"),
    ],
)
def test_a_machine_that_lacks_something_is_told_what(config, machine, said):
    (found,) = machine_problems(config, machine)
    assert said in found


def test_a_machine_that_has_everything_is_taken():
    for config in (fp8(), fp8("blockwise"), MegatronConfig(precision="bf16"), MegatronConfig(precision="fp32")):
        assert not list(machine_problems(config, HOPPER))
    for config in (MegatronConfig(precision="bf16"), MegatronConfig(offload=["gradients"])):
        assert not list(machine_problems(config, Machine(None, None, None)))


def test_a_rank_without_a_gpu_refuses_fp8_before_it_joins_the_others():
    with pytest.raises(ConfigError, match="fp8_hybrid needs a GPU, and this rank has none"):
        Runtime.start(fp8(device="auto"), seed=0, torch_threads=1)


def test_a_run_is_refused_before_anything_is_built(tmp_path):
    """Whether it is planned or begun: both ask the same function first."""
    folder = tiny_hf_folder(tmp_path / "model", hidden_size=40, head_dim=10, max_position_embeddings=512)
    chosen = ["recipe=tiny", f"model.path='{folder}'", "megatron.device=auto", "megatron.precision=fp8_hybrid"]
    config = load_config("train", [*chosen, "megatron.fp8.recipe=delayed", "megatron.chip=a100"])
    with pytest.raises(SettingsError) as caught:
        fitting_architecture(config, 1)
    said = str(caught.value)
    assert "isn't 1 before the first update" in said
    assert "multiples of 16, but the model's hidden size is 40" in said
    assert "megatron.chip=a100 has 8.0" in said


def test_chips_are_known_by_the_names_that_drivers_give():
    names = {"NVIDIA H100 80GB HBM3": "h100", "NVIDIA H200": "h200", "NVIDIA A100-SXM4-80GB": "a100", "Tesla T4": None}
    assert {product: chip_named(product) for product in names} == names


# -- tokens ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("config", "multiple"),
    [
        (MegatronConfig(precision="bf16"), 1),
        (fp8("tensorwise"), 16),
        (fp8("blockwise"), 128),
        (fp8("mxfp8"), 32),
        (fp8("mxfp8", tensor_parallel_size=2, sequence_parallel=True), 64),
        (fp8("tensorwise", context_parallel_size=2), 32),
        (MegatronConfig(context_parallel_size=2, tensor_parallel_size=2, sequence_parallel=True), 8),
        (fp8("blockwise", context_parallel_size=2, tensor_parallel_size=2, sequence_parallel=True), 512),
    ],
)
def test_a_pack_is_filled_until_every_ranks_share_fits_the_recipe(config, multiple):
    packer = packer_of(config, uses_te=True)
    assert packer.pack_multiple == multiple
    share = multiple // config.context_parallel_size
    share //= config.tensor_parallel_size if config.sequence_parallel else 1
    recipe = RECIPES[config.fp8.recipe] if config.precision == "fp8_hybrid" else None
    assert recipe is None or share % recipe.token_multiple == 0


def test_published_shapes_are_those_of_the_models():
    """Their parameters, as their makers state them: 1.78 and 7.62 billion."""
    assert {name: round(model.parameter_count / 1e9, 2) for name, model in MODELS.items()} == {"1.5B": 1.78, "7B": 7.62}
