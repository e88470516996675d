"""What the model computes in, as a user types it. What each name sets stands in `megatron/precision.py`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from nemo_prorl.config.closed import Closed


def _no_fp16(value: Any) -> Any:
    if value == "fp16":
        raise ValueError(
            "fp16 is not offered: its largest number is 65,504, so gradients need a loss scale that moves with them, "
            "and an update that overflows is dropped; a run of thousands of steps would lose some without a word. Use "
            "bf16, which has fp32's range and takes as much memory, or fp32"
        )
    return value


PrecisionName = Annotated[Literal["fp32", "bf16", "fp8_hybrid"], BeforeValidator(_no_fp16)]
RecipeName = Literal["delayed", "tensorwise", "blockwise", "mxfp8"]
ChipName = Literal["a100", "l40s", "h100", "h200", "b200"]


class FP8Config(Closed):
    """How matrices are scaled into 8 bits; for precision=fp8_hybrid alone."""

    recipe: RecipeName = Field(
        "tensorwise",
        description="where scales come from: a tensor's own largest number; delayed: earlier passes' (for prorl sft "
        "alone); blockwise: blocks of 128; mxfp8: blocks of 32, on Blackwell",
    )
    bf16_end_layers: int = Field(
        0, ge=0, description="so many layers at either end of the model stay in bf16; not with delayed"
    )
    parameters: bool = Field(
        False, description="keep the layers' matrices in 8 bits too, beside fp32 masters; needs distributed_optimizer"
    )
