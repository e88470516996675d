"""A frozen copy of a model's weights that can stand in for them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from nemo_prorl.megatron.model import PolicyModel


class WeightSnapshot:
    """This rank's parameters as they were; `in_place` runs the model with them by swapping pointers, copying nothing.

    A snapshot has the model's own dtype and layout, so that right after `refresh` it computes the same bits.
    """

    def __init__(self, model: PolicyModel) -> None:
        self._model = model
        self._frozen: list[Tensor] = [parameter.detach().clone() for parameter in model.parameters()]

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """Inside, the model computes with the snapshot's weights. Don't train inside."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    @torch.no_grad()
    def refresh(self) -> None:
        """Become the model as it is now."""
        for frozen, parameter in zip(self._frozen, self._model.parameters(), strict=True):
            frozen.copy_(parameter)

    def _swap(self) -> None:
        for number, parameter in enumerate(self._model.parameters()):
            parameter.data, self._frozen[number] = self._frozen[number], parameter.data
