"""A frozen copy of a model's weights that can stand in for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch
from torch import Tensor

from nemo_prorl.megatron.model import PolicyModel


class WeightSnapshot:
    """This rank's parameters as they were; `in_place` runs the model with them by swapping pointers.

    A snapshot has the model's own dtype and layout, so that right after `refresh` it computes the same bits. On the
    device it costs as much memory as the weights; with `on_host` it lies in pinned memory of the host, and its tensors
    are on the device only inside `in_place`, where `fetch` may have begun to bring them before.
    """

    def __init__(self, model: PolicyModel, *, on_host: bool = False) -> None:
        self._model, self._on_host = model, on_host
        self._frozen = [self._kept(parameter.detach()) for parameter in model.parameters()]
        self._fetched: list[Tensor] | None = None
        self._stream = torch.cuda.Stream() if on_host and torch.cuda.is_available() else None

    def fetch(self) -> None:
        """Begin to copy to the device, beside whatever it computes; nothing to do for a resident snapshot."""
        if not self._on_host or self._fetched is not None:
            return
        device = next(self._model.parameters()).device
        with torch.cuda.stream(self._stream) if self._stream is not None else nullcontext():
            self._fetched = [frozen.to(device, non_blocking=True) for frozen in self._frozen]

    def let_go(self) -> None:
        """Take back a `fetch` that nobody has made use of: the device's memory is needed for something else."""
        if self._fetched is None:
            return
        self._fetched = None
        if self._stream is not None:
            torch.cuda.empty_cache()

    @contextmanager
    def in_place(self, *, writing: bool = False) -> Iterator[None]:
        """Inside, the model computes with the snapshot's weights. Don't train inside.

        `writing`: what the model's parameters are set to inside is the snapshot's from then on.
        """
        self.fetch()
        if self._stream is not None:
            torch.cuda.current_stream().wait_stream(self._stream)
        standing_by = self._frozen if self._fetched is None else self._fetched
        self._swap(standing_by)
        try:
            yield
        finally:
            self._swap(standing_by)
            if writing and self._fetched is not None:
                for frozen, written in zip(self._frozen, self._fetched, strict=True):
                    frozen.copy_(written)
            self._fetched = None
            if self._stream is not None:  # the next fetch may get their memory, which may still be computed with
                self._stream.wait_stream(torch.cuda.current_stream())

    @torch.no_grad()
    def refresh(self) -> None:
        """Become the model as it is now."""
        self._fetched = None
        for frozen, parameter in zip(self._frozen, self._model.parameters(), strict=True):
            frozen.copy_(parameter)

    def _swap(self, standing_by: list[Tensor]) -> None:
        for number, parameter in enumerate(self._model.parameters()):
            parameter.data, standing_by[number] = standing_by[number], parameter.data

    def _kept(self, tensor: Tensor) -> Tensor:
        if not self._on_host:
            return tensor.clone()
        copy = torch.empty_like(tensor, device="cpu", pin_memory=tensor.device.type == "cuda")
        return copy.copy_(tensor)
