"""The GPU of a rank and its libraries, and what they can compute."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.megatron.precision import RECIPES, Capability, Recipe, Version, precision_of, recipe_of

if TYPE_CHECKING:
    import torch

OLDEST_ENGINE, TOO_NEW_ENGINE = (2, 9), (2, 12)  # what megatron-core 0.16 is made for, by its extra `dev`
OLDEST_FOR_BF16 = (8, 0)


@dataclass(frozen=True)
class Machine:
    """`capability` is the GPU's compute capability, `cuda` what torch was built for; None: absent."""

    capability: Capability | None
    cuda: Version | None
    transformer_engine: Version | None

    @classmethod
    def found(cls, device: torch.device) -> Machine:
        """What this rank computes on."""
        import torch

        return cls(
            torch.cuda.get_device_capability(device) if device.type == "cuda" else None,
            _numbers(torch.version.cuda or ""),
            _installed("transformer-engine"),
        )


def machine_problems(config: MegatronConfig, machine: Machine) -> Iterator[str]:
    """Why a rank can't run so on this machine; nothing when it can."""
    recipe, capability = recipe_of(config), machine.capability
    moved = [what for what in config.offload if what != "gradients"]
    if moved and capability is None:
        yield f"megatron.offload={moved} moves what lies on a GPU to the host, and this rank has none; leave it out"
    if precision_of(config).bf16 and capability is not None and capability < OLDEST_FOR_BF16:
        yield (
            f"megatron.precision={config.precision} needs compute capability {_dotted(OLDEST_FOR_BF16)} (A100) or "
            f"above, this GPU has {_dotted(capability)}; use precision=fp32"
        )
    if recipe is None:
        return
    if capability is None:
        yield "megatron.precision=fp8_hybrid needs a GPU, and this rank has none; use precision=bf16 or fp32"
        return
    yield from chip_problems(config, capability, "this GPU")
    if machine.cuda is not None and machine.cuda < recipe.oldest_cuda:
        instead = "recipe=tensorwise" if machine.cuda >= RECIPES["tensorwise"].oldest_cuda else "precision=bf16"
        yield (
            f"megatron.fp8.recipe={config.fp8.recipe} needs CUDA {_dotted(recipe.oldest_cuda)} or later, torch was "
            f"built for {_dotted(machine.cuda)}; install a newer build of torch, or choose {instead}"
        )
    engine = machine.transformer_engine
    if engine is None or not OLDEST_ENGINE <= engine < TOO_NEW_ENGINE:
        found = "isn't installed" if engine is None else f"is {_dotted(engine)} here"
        yield (
            f"megatron.precision=fp8_hybrid is computed by Transformer Engine, at least {_dotted(OLDEST_ENGINE)} and "
            f"below {_dotted(TOO_NEW_ENGINE)}, which {found}; scripts/build_gpu_host.sh builds it, or use "
            "precision=bf16"
        )


def chip_problems(config: MegatronConfig, capability: Capability, which: str) -> Iterator[str]:
    """Why a GPU of this compute capability, called `which`, can't compute in this precision."""
    recipe = recipe_of(config)
    if recipe is None or _has_kernels(recipe, capability):
        return
    fitting = [name for name, other in RECIPES.items() if other.scales_now and _has_kernels(other, capability)]
    instead = f"megatron.fp8.recipe={' or '.join(fitting)}" if fitting else "megatron.precision=bf16"
    bounds = f"{_dotted(recipe.oldest)} or above" + (f", below {_dotted(recipe.too_new)}" if recipe.too_new else "")
    yield (
        f"megatron.fp8.recipe={config.fp8.recipe} needs compute capability {bounds}; {which} has "
        f"{_dotted(capability)}. Use {instead}"
    )


def _has_kernels(recipe: Recipe, capability: Capability) -> bool:
    return capability >= recipe.oldest and (recipe.too_new is None or capability < recipe.too_new)


def _installed(distribution: str) -> Version | None:
    try:
        return _numbers(version(distribution))
    except PackageNotFoundError:
        return None


def _numbers(text: str) -> Version | None:
    """The leading numbers of a version: 2.9.0+cu13 -> (2, 9, 0)."""
    found = re.match(r"\d+(\.\d+)*", text)
    return tuple(map(int, found[0].split("."))) if found else None


def _dotted(numbers: tuple[int, ...]) -> str:
    return ".".join(map(str, numbers))
