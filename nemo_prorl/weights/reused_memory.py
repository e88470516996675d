"""Memory that a thread uses again for every tensor it handles.

Fresh memory is zeroed by the kernel, page by page, which takes longer than reading a file that is cached into it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from nemo_prorl.weights.safetensors_file import raw_size

Empty = Callable[[Sequence[int], torch.dtype], Tensor]  # an uninitialised, contiguous CPU tensor of this shape

ALIGNMENT_BYTES = 64


def fresh(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """Memory of its own."""
    return torch.empty(tuple(shape), dtype=dtype)


class ReusedMemory(threading.local):
    """Each thread's own. It grows to what the largest round needed."""

    def __init__(self) -> None:
        self._bytes = torch.empty(0, dtype=torch.uint8)
        self._used = 0

    def begin(self) -> None:
        """A new round: what this thread got in the last one may be overwritten."""
        if self._used > len(self._bytes):
            self._bytes = torch.empty(0, dtype=torch.uint8)  # let go of it before there is more
            self._bytes = torch.empty(self._used, dtype=torch.uint8)
        self._used = 0

    def empty(self, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
        """A tensor that holds until this thread begins the next round."""
        begin, size = self._used, raw_size(shape, dtype)
        self._used += -(-size // ALIGNMENT_BYTES) * ALIGNMENT_BYTES
        if begin + size > len(self._bytes):
            return fresh(shape, dtype)
        return self._bytes[begin : begin + size].view(dtype).view(tuple(shape))
