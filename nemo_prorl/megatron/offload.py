"""What leaves the device while nothing needs it: gradients and optimizer state during rollouts and scoring.

The reference's weights are the snapshot's own affair, see snapshot.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import torch
from torch import Tensor

from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.optimizer import PolicyOptimizer

Part = Literal["optimizer", "reference", "gradients"]


class TrainingMemory:
    """Frees what only an update needs, and brings it back before the next one.

    Gradient buffers are given back to the allocator and are zeros afterwards. Optimizer state (moments, and fp32 master
    weights) is moved to pinned memory of the host and copied back.
    """

    def __init__(self, model: PolicyModel, optimizer: PolicyOptimizer, parts: list[Part]) -> None:
        self._model, self._optimizer, self._parts = model, optimizer, parts
        self._is_here = True
        self._sizes: list[int] = []

    @contextmanager
    def here(self) -> Iterator[None]:
        """Inside, everything is on the device: a checkpoint or a reset looks at the optimizer."""
        was_here = self._is_here
        self.restore()
        try:
            yield
        finally:
            if not was_here:
                self.release()

    def release(self) -> None:
        """After the last update of a step. A second call does nothing."""
        if not self._is_here:
            return
        self._is_here = False
        if "gradients" in self._parts:
            self._sizes = [storage.size() for storage in self._gradient_storages()]
            for storage in self._gradient_storages():
                storage.resize_(0)
        if "optimizer" in self._parts:
            for tensor in self._optimizer_tensors():
                tensor.data = _to_host(tensor.data)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def restore(self) -> None:
        """Before the first update of a step. A second call does nothing."""
        if self._is_here:
            return
        self._is_here = True
        if "gradients" in self._parts:
            for storage, size in zip(self._gradient_storages(), self._sizes, strict=True):
                storage.resize_(size)
            for chunk in self._model.chunks:
                chunk.zero_grad_buffer()
        if "optimizer" in self._parts:
            device = next(self._model.parameters()).device
            for tensor in self._optimizer_tensors():
                tensor.data = tensor.data.to(device, non_blocking=True)

    def _gradient_storages(self) -> Iterator[Any]:
        for chunk in self._model.chunks:
            for buffer in [*chunk.buffers, *chunk.expert_parallel_buffers]:
                yield buffer.grad_data.untyped_storage()

    def _optimizer_tensors(self) -> Iterator[Tensor]:
        """Moments, and the masters that aren't the model's own parameters."""
        own = {id(parameter) for parameter in self._model.parameters()}
        for torch_optimizer in self._optimizer.torch_optimizers():
            for group in torch_optimizer.param_groups:
                for master in group["params"]:
                    yield from (
                        value
                        for value in torch_optimizer.state[master].values()
                        if isinstance(value, Tensor) and value.dim()
                    )
                    if id(master) not in own and master.dtype == torch.float32 and self._has_own_masters:
                        yield master

    @property
    def _has_own_masters(self) -> bool:
        """Below fp32 masters are copies; in fp32 they are (views of) the model's parameters and stay."""
        return self._model.transformer_config.bf16


def _to_host(tensor: Tensor) -> Tensor:
    if tensor.device.type == "cpu":
        return tensor
    host = torch.empty_like(tensor, device="cpu", pin_memory=True)
    host.copy_(tensor, non_blocking=False)
    return host
