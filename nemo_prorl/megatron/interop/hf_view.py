"""A checkpoint's tensors by Hugging Face's names, as if they lay in a Hugging Face folder."""

from __future__ import annotations

import torch
from torch import Tensor

from nemo_prorl.errors import WeightsError
from nemo_prorl.megatron.interop.stored_tensors import StoredTensors
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.weights.conversion import exported
from nemo_prorl.weights.mapping import Operation


class HuggingFaceView:
    """What `TensorReader` offers, over a torch_dist checkpoint. One Megatron tensor is held at a time."""

    def __init__(self, stored: StoredTensors, architecture: Architecture) -> None:
        self._stored, self._architecture = stored, architecture
        self._made_of: dict[str, tuple[str, Operation]] = {}
        for name, operation in exported(architecture).items():
            self._made_of |= {hf_name: (name, operation) for hf_name in operation.hf_names}
        self._held: tuple[str, dict[str, Tensor]] = "", {}

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all tensors."""
        return tuple(self._made_of)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor, without reading it."""
        return next(part.shape for part in self._find(name)[1].parts if part.name == name)

    def dtype(self, name: str) -> torch.dtype:
        """The dtype of a tensor, without reading it."""
        return self._stored.dtype_of(self._find(name)[0])

    def get(self, name: str) -> Tensor:
        """The tensor."""
        megatron_name, operation = self._find(name)
        if self._held[0] != megatron_name:
            tensors = self._stored.read(megatron_name, operation)
            self._held = megatron_name, dict(zip(operation.hf_names, tensors, strict=True))
        return self._held[1][name]

    def check(self, architecture: Architecture) -> None:
        """Nothing is left to see: what a checkpoint holds is checked when it is opened."""

    def _find(self, name: str) -> tuple[str, Operation]:
        if name not in self._made_of:
            raise WeightsError(f"{self._stored.folder} has no tensor {name!r}; it has {len(self._made_of)} others")
        return self._made_of[name]
