"""The policy on Megatron Core: the only room that imports it."""

import warnings

# What Megatron says at import wherever Transformer Engine is not installed; its fallbacks to torch are what we want then.
warnings.filterwarnings(
    "ignore", message=r"(Transformer Engine and )?Apex (is|are) not installed", category=UserWarning, module="megatron"
)
