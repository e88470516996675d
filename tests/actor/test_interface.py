"""The actor is NeMo-Aligner's, and its batches go to that library's keys and back."""

from __future__ import annotations

import pytest
import torch
from nemo_aligner.models.alignable_interface import AlignableGenerativeInterface

from nemo_prorl.actor.interface import PolicyActor, from_aligner, to_aligner
from nemo_prorl.actor.megatron_actor import MegatronActor
from nemo_prorl.actor.phases import inference_phase, training_phase
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.errors import ShapeError


def a_batch() -> RolloutBatch:
    """Two groups of two; prompts of 2 tokens, responses of 1 to 3."""
    batch = RolloutBatch(
        tokens_BS=torch.arange(20).view(4, 5),
        prompt_lengths_B=torch.tensor([2, 2, 2, 2]),
        lengths_B=torch.tensor([5, 3, 4, 5]),
        rewards_GN=torch.tensor([[1.0, 0.0], [0.5, 0.25]]),
        temperature=1.2,
        domains_B=("math", "math", "code", "code"),
        sampler_logprobs_BT=torch.full((4, 4), -0.5),
    )
    return batch.with_(
        advantages=torch.tensor([[1.0, -1.0], [0.7, -0.7]]),
        old_logprobs=torch.full((4, 4), -0.4),
        reference_logprobs=torch.full((4, 4), -0.3),
    )


def test_the_megatron_actor_is_an_alignable_generative_model_with_nothing_left_abstract():
    assert issubclass(MegatronActor, AlignableGenerativeInterface)
    assert issubclass(MegatronActor, PolicyActor)
    assert not MegatronActor.__abstractmethods__


def test_a_batch_survives_the_way_to_nemo_aligners_keys_and_back():
    batch = a_batch()
    there = to_aligner(batch)
    assert {"response_tokens", "mask", "advantages", "logprobs", "init_logprobs", "inference_logprobs"} <= set(there)
    back = from_aligner(there)
    for name in ("tokens_BS", "prompt_lengths_B", "lengths_B", "rewards_GN", "advantages_BT", "old_logprobs_BT"):
        assert torch.equal(getattr(back, name), getattr(batch, name)), name
    assert torch.equal(back.reference_logprobs_BT, batch.reference_logprobs_BT)
    assert torch.equal(back.sampler_logprobs_BT, batch.sampler_logprobs_BT)
    assert (back.temperature, back.domains_B) == (1.2, batch.domains_B)


def test_the_mask_for_nemo_aligner_marks_the_predictions_of_response_tokens():
    """Row 0 has 2 prompt and 3 response tokens: predictions 1, 2, 3 of the columns 0 to 3 are the response's."""
    assert to_aligner(a_batch())["mask"].tolist() == [[0, 1, 1, 1], [0, 1, 0, 0], [0, 1, 1, 0], [0, 1, 1, 1]]


def test_a_batch_without_its_temperature_is_refused():
    without = {key: value for key, value in to_aligner(a_batch()).items() if key != "temperature"}
    with pytest.raises(KeyError, match="temperature"):
        from_aligner(without)


class Doors:
    """Notes which phases were opened and closed."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def __getattr__(self, name: str):
        return lambda: self.seen.append(name)


@pytest.mark.parametrize(
    ("phase", "expected"),
    [
        (inference_phase, ["prepare_for_inference", "finish_inference"]),
        (training_phase, ["prepare_for_training", "finish_training"]),
    ],
)
def test_a_phase_is_closed_also_after_an_error(phase, expected):
    doors = Doors()
    with pytest.raises(RuntimeError, match="inside"), phase(doors):
        raise RuntimeError("inside")
    assert doors.seen == expected


def test_a_mask_of_the_callers_own_is_refused_rather_than_ignored():
    there = to_aligner(a_batch())
    with pytest.raises(ShapeError, match="mask differs"):
        from_aligner({**there, "mask": torch.zeros(4, 4)})
