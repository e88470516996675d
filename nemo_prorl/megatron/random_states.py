"""The random states of one rank, as a checkpoint holds them in `rng_00000.pt` and its like."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from megatron.core import tensor_parallel


def random_states() -> dict[str, Any]:
    """Of every generator that this rank draws from; "cuda" only where CUDA is."""
    states = {
        "python": random.getstate(),
        "numpy": np.random.get_state(),
        "torch": torch.get_rng_state(),
        "megatron": tensor_parallel.get_cuda_rng_tracker().get_states(),
    }
    return {**states, "cuda": torch.cuda.get_rng_state()} if torch.cuda.is_available() else states


def restore_random_states(states: Mapping[str, Any]) -> None:
    """What was saved without CUDA can be restored with it, and the other way around.

    CUDA's generator and Megatron's, which are of its kind where it is, then stay as they are.
    """
    random.setstate(states["python"])
    np.random.set_state(states["numpy"])
    torch.set_rng_state(states["torch"])
    if ("cuda" in states) != torch.cuda.is_available():
        return
    tensor_parallel.get_cuda_rng_tracker().set_states(states["megatron"])
    if "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"])
