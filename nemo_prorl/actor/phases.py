"""What opens must close: NeMo-Aligner's prepare / finish pairs as `with` blocks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nemo_prorl.actor.interface import PolicyActor


@contextmanager
def inference_phase(actor: PolicyActor) -> Iterator[None]:
    """Inside, the rollout engine holds the actor's newest weights."""
    actor.prepare_for_inference()
    try:
        yield
    finally:
        actor.finish_inference()


@contextmanager
def training_phase(actor: PolicyActor) -> Iterator[None]:
    """Inside, parameters, gradients and optimizer state are where the update needs them."""
    actor.prepare_for_training()
    try:
        yield
    finally:
        actor.finish_training()
