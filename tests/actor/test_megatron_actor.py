"""What the Megatron actor has on the device in which phase."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch

from nemo_prorl.actor.megatron_actor import MegatronActor
from nemo_prorl.actor.phases import inference_phase
from nemo_prorl.actor.reference import ReferencePolicy
from nemo_prorl.megatron.snapshot import WeightSnapshot


def actor_with(snapshot: WeightSnapshot) -> MegatronActor:
    """Its reference is real; whatever else sampling needs does nothing."""
    nothing: Any = SimpleNamespace(release=lambda: None, load_weights=lambda stream: None)
    return MegatronActor(
        **{name: nothing for name in ("model", "schedule", "optimizer", "memory", "engine", "checkpoints", "export")},
        reference=ReferencePolicy(snapshot, nothing),
        base=None,
        loss=SimpleNamespace(kl_weight=0.1),  # type: ignore[arg-type]
    )


def test_a_reference_on_the_host_is_fetched_after_sampling_and_is_not_on_the_device_while_there_is_sampling() -> None:
    """After a validation nothing is scored: what was fetched would stand in the way of the next rollout."""
    snapshot = WeightSnapshot(torch.nn.Linear(2, 2), on_host=True)  # type: ignore[arg-type]
    actor = actor_with(snapshot)
    for _ in range(2):
        with inference_phase(actor):
            assert snapshot._fetched is None
        assert snapshot._fetched is not None
    with snapshot.in_place():
        pass
    assert snapshot._fetched is None, "it has been used"
