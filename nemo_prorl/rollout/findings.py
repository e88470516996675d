"""What a check of a rollout engine has found; and what becomes of its memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch

State = Literal["good", "failed", "unseen"]


@dataclass(frozen=True)
class Finding:
    """What one check has found; `advice` for a failure."""

    name: str
    state: State
    said: str
    advice: str = ""


def used_memory() -> int | None:
    """Bytes of this rank's GPU that anybody uses."""
    if not torch.cuda.is_available():
        return None
    free, total = torch.cuda.mem_get_info()
    return total - free


def memory_finding(held: int | None, left: int | None) -> Finding:
    """Of the bytes in use before and after a release: whether others have got anything of it."""
    if held is None or left is None:
        return Finding("memory", "unseen", "there is no GPU whose memory could be measured")
    said = f"{held / 2**30:.1f} GiB of the GPU in use, {left / 2**30:.1f} GiB after a release"
    if left < held:
        return Finding("memory", "good", said)
    advice = (
        "nothing came back that others could use; bound the cache (rollout.kv_cache_tokens), consider megatron.offload"
    )
    return Finding("memory", "unseen", f"{said}: {advice}")
