"""The GPUs that presets and `--dry-run` know: what they can compute in, how much they hold, how fast they are.

A run asks the GPU that it finds; these figures are for planning, and for saying what share of the possible was reached.
"""

from __future__ import annotations

from dataclasses import dataclass

from nemo_prorl.config.precision import ChipName

GIBIBYTE = 2**30


@dataclass(frozen=True)
class Chip:
    """`bf16_flops` and `fp8_flops`: dense products a second, as the maker states them (half of those with sparsity).

    `usable_bytes` is what a process gets of the memory; `bytes_a_second` how fast it is read.
    """

    capability: tuple[int, int]
    usable_bytes: int
    bytes_a_second: float
    bf16_flops: float
    fp8_flops: float | None


CHIPS: dict[ChipName, Chip] = {
    "a100": Chip((8, 0), 79 * GIBIBYTE, 2.04e12, 312e12, None),
    "l40s": Chip((8, 9), 44 * GIBIBYTE, 0.86e12, 362e12, 733e12),
    "h100": Chip((9, 0), 79 * GIBIBYTE, 3.35e12, 989e12, 1979e12),
    "h200": Chip((9, 0), 139 * GIBIBYTE, 4.8e12, 989e12, 1979e12),
    "b200": Chip((10, 0), 178 * GIBIBYTE, 7.7e12, 2250e12, 4500e12),
}
_PRODUCT_NAMES: dict[str, ChipName] = {name.upper(): name for name in CHIPS}


def chip_named(product: str) -> ChipName | None:
    """The chip that a driver calls `product`, None for one that isn't known here.

    >>> chip_named("NVIDIA H100 80GB HBM3")
    'h100'
    """
    words = product.upper().replace("-", " ").split()
    if {"PCIE", "NVL"} & set(words) and "A100" not in words:  # slower than the SXM boards above
        return None
    return next((name for word, name in _PRODUCT_NAMES.items() if word in words), None)
