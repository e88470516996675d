"""The policy on Megatron Core: the only room that imports it."""

import warnings

# Said at import wherever Transformer Engine is not installed; falling back to torch is what we want there.
warnings.filterwarnings(
    "ignore", message=r"(Transformer Engine and )?Apex (is|are) not installed", category=UserWarning, module="megatron"
)
