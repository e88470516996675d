"""What the engine computes in: one table of precisions and one of FP8 recipes, and what doesn't go together.

Whatever the layers compute in, logits are turned into logprobs and entropies in fp32, and losses, reductions, gradients
over ranks, moments and master weights are fp32. The output layer and attention's core are bf16 under FP8. Nothing here
imports torch or Megatron before a dtype is asked for, so that `--dry-run` can refuse what a run would refuse.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from nemo_prorl.config.precision import FP8Config, RecipeName
from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.weights.architecture import Architecture

if TYPE_CHECKING:
    import torch

Capability = tuple[int, int]
Version = tuple[int, ...]


@dataclass(frozen=True)
class Precision:
    """`dtype` is that of weights and activations between products; below fp32 the optimizer keeps fp32 masters.

    `fp8` is Megatron's word for the formats: hybrid is e4m3 forward and e5m2 for gradients.
    """

    dtype: Literal["fp32", "bf16"]
    fp8: Literal["hybrid"] | None = None

    @property
    def bf16(self) -> bool:
        return self.dtype == "bf16"

    @property
    def torch_dtype(self) -> torch.dtype:
        import torch

        return torch.bfloat16 if self.bf16 else torch.float32


PRECISIONS = {
    "fp32": Precision("fp32"),
    "bf16": Precision("bf16"),
    "fp8_hybrid": Precision("bf16", fp8="hybrid"),
}


@dataclass(frozen=True)
class Recipe:
    """How Transformer Engine scales matrices into 8 bits.

    te_class             of `transformer_engine.common.recipe`
    oldest, too_new      compute capabilities: the first that has the kernels, and the first that has them no more
    oldest_cuda          that its kernels need
    matrix_multiple      what each side of a layer's matrix, on each tensor-parallel rank, must be a multiple of
    token_multiple       what a rank's tokens of a microbatch must be a multiple of: packs are filled up to it
    scales_now           scales come from the tensor itself, so the same pass again gives the same numbers
    settings             more of Megatron's TransformerConfig
    """

    te_class: str
    oldest: Capability
    too_new: Capability | None
    oldest_cuda: Version
    matrix_multiple: int
    token_multiple: int
    scales_now: bool = True
    settings: dict[str, Any] = field(default_factory=dict)


RECIPES: dict[RecipeName, Recipe] = {
    "delayed": Recipe(
        *("DelayedScaling", (8, 9), None, (12, 1)),
        matrix_multiple=16,
        token_multiple=16,
        scales_now=False,
        settings={"fp8_amax_history_len": 1024, "fp8_amax_compute_algo": "max"},
    ),
    "tensorwise": Recipe("Float8CurrentScaling", (8, 9), None, (12, 1), matrix_multiple=16, token_multiple=16),
    # Activations are scaled by 1 x 128, weights by 128 x 128: whole blocks, or ranks could not gather 8 bits.
    "blockwise": Recipe("Float8BlockScaling", (9, 0), None, (12, 9), matrix_multiple=128, token_multiple=128),
    "mxfp8": Recipe("MXFP8BlockScaling", (10, 0), (12, 0), (12, 8), matrix_multiple=32, token_multiple=32),
}


def precision_of(config: MegatronConfig) -> Precision:
    """The row of the table that the configuration names."""
    return PRECISIONS[config.precision]


def recipe_of(config: MegatronConfig) -> Recipe | None:
    """The FP8 recipe, None without FP8."""
    return RECIPES[config.fp8.recipe] if precision_of(config).fp8 else None


def token_multiple(config: MegatronConfig) -> int:
    """What a rank's tokens of a microbatch must be a multiple of."""
    recipe = recipe_of(config)
    return 1 if recipe is None else recipe.token_multiple


def transformer_settings(config: MegatronConfig) -> dict[str, Any]:
    """Of Megatron's TransformerConfig."""
    precision, recipe = precision_of(config), recipe_of(config)
    dtype = precision.torch_dtype
    plain = {"params_dtype": dtype, "pipeline_dtype": dtype, "bf16": precision.bf16}
    if recipe is None:
        return plain
    ends = config.fp8.bf16_end_layers
    return {
        **plain,
        "fp8": precision.fp8,
        "fp8_recipe": config.fp8.recipe,
        "fp8_param": config.fp8.parameters,
        "first_last_layers_bf16": ends > 0,
        "num_layers_at_start_in_bf16": ends,
        "num_layers_at_end_in_bf16": ends,
        **recipe.settings,
    }


def ddp_settings(config: MegatronConfig) -> dict[str, Any]:
    """Of Megatron's DistributedDataParallelConfig: gradients are added up in fp32."""
    return {"grad_reduce_in_fp32": True, "fp8_param_gather": _keeps_fp8(config), **_gathered_in_gradients(config)}


def optimizer_settings(config: MegatronConfig) -> dict[str, Any]:
    """Of Megatron's OptimizerConfig. Masters, moments and gradients are fp32, which are its defaults."""
    precision = precision_of(config)
    return {
        "bf16": precision.bf16,
        "params_dtype": precision.torch_dtype,
        "fp8_recipe": config.fp8.recipe if precision.fp8 else None,
        **_gathered_in_gradients(config),
    }


def masters_kept(config: MegatronConfig) -> dict[str, Any]:
    """What a checkpoint says of how its optimizer keeps weights."""
    return {"dtype": precision_of(config).dtype, "distributed_optimizer": config.distributed_optimizer}


def masters_problem(saved: Mapping[str, Any] | None, config: MegatronConfig) -> str | None:
    """Why an optimizer that was saved so can't go on in this precision; None when it can, or when nothing is said.

    Each of Megatron's optimizers has a form of its own. The distributed one's is the same in fp32 and below.
    """
    own = masters_kept(config)
    if saved is None or saved == own or (saved["distributed_optimizer"] and own["distributed_optimizer"]):
        return None
    told = [f"precision {one['dtype']}, distributed_optimizer={one['distributed_optimizer']}" for one in (saved, own)]
    return (
        f"was written with {told[0]}, and this run has {told[1]}; its moments and masters are of another form. Set "
        "both as they were (fp8_hybrid goes on from bf16), or begin a run from its export. With "
        "distributed_optimizer=true in both runs the precision may change"
    )


def _keeps_fp8(config: MegatronConfig) -> bool:
    return precision_of(config).fp8 is not None and config.fp8.parameters


def _gathered_in_gradients(config: MegatronConfig) -> dict[str, Any]:
    """MXFP8 weights come in two forms that can't be made of each other: bf16 is gathered, where gradients were."""
    return {"reuse_grad_buf_for_mxfp8_param_ag": _keeps_fp8(config) and config.fp8.recipe == "mxfp8"}


def model_problems(architecture: Architecture, config: MegatronConfig, *, scores_again: bool) -> Iterator[str]:
    """Why this model can't be trained in this precision; nothing when it can.

    `scores_again`: the policy is compared with what the same weights gave in an earlier pass, as in reinforcement
    learning.
    """
    recipe, fp8 = recipe_of(config), config.fp8
    if recipe is None:
        if fp8 != FP8Config():
            yield (
                f"megatron.fp8 is set, but megatron.precision={config.precision} has no FP8; set "
                "megatron.precision=fp8_hybrid, or leave megatron.fp8 out"
            )
        return
    if config.device == "cpu":
        yield (
            "megatron.precision=fp8_hybrid needs a GPU: no CPU multiplies 8-bit numbers, and to imitate it would take "
            "longer and tell nothing. With megatron.device=cpu use precision=bf16 or fp32"
        )
    if scores_again and not recipe.scales_now:
        yield (
            f"megatron.fp8.recipe={fp8.recipe} scales by what earlier passes have seen, so the same weights give other "
            "logprobs from pass to pass: the ratio to the old policy isn't 1 before the first update, nor the KL to a "
            "reference 0 after a reset. Use tensorwise or blockwise (Hopper), or mxfp8 (Blackwell); prorl sft takes "
            "delayed, too"
        )
    yield from _shape_problems(architecture, config, recipe)
    yield from _layer_problems(architecture, config, recipe)
    if fp8.parameters and not config.distributed_optimizer:
        yield (
            "megatron.fp8.parameters=true needs megatron.distributed_optimizer=true, the one of Megatron's optimizers "
            "that keeps fp32 masters of 8-bit weights; set it, or parameters=false"
        )
    if fp8.parameters and "reference" in config.offload:
        yield (
            "megatron.fp8.parameters=true with 'reference' in megatron.offload: 8-bit weights can't be moved to the "
            "host's memory. Leave one of them out"
        )


def _shape_problems(architecture: Architecture, config: MegatronConfig, recipe: Recipe) -> Iterator[str]:
    tensor = config.tensor_parallel_size
    sides = {
        "hidden size": architecture.hidden_size,
        "width of all query heads": architecture.query_size // tensor,
        "width of queries, keys and values": (architecture.query_size + 2 * architecture.kv_size) // tensor,
        "feed-forward size": architecture.ffn_size // tensor,
    }
    for what, size in sides.items():
        if size % recipe.matrix_multiple:
            whose = "the model's" if tensor == 1 or what == "hidden size" else f"a rank's (of {tensor})"
            yield (
                f"megatron.fp8.recipe={config.fp8.recipe} needs matrices in multiples of {recipe.matrix_multiple}, but "
                f"{whose} {what} is {size}; choose another recipe"
                + (" or a smaller tensor_parallel_size" if tensor > 1 else "")
                + ", or precision=bf16"
            )


def _layer_problems(architecture: Architecture, config: MegatronConfig, recipe: Recipe) -> Iterator[str]:
    ends = config.fp8.bf16_end_layers
    if not ends:
        return
    if not recipe.scales_now:
        yield (
            f"megatron.fp8.bf16_end_layers={ends} doesn't go with recipe={config.fp8.recipe}, whose scales are made "
            "for all layers at once; set bf16_end_layers=0 or choose tensorwise"
        )
    of_a_stage = architecture.num_layers // config.pipeline_parallel_size
    most = min(of_a_stage, (architecture.num_layers - 1) // 2)
    if ends > most:
        yield (
            f"megatron.fp8.bf16_end_layers={ends} leaves no layer in FP8 or is more than a pipeline stage has; the "
            f"model has {architecture.num_layers} layers on {config.pipeline_parallel_size} stages: choose at most "
            f"{most}"
        )
