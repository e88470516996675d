"""The frozen anchor of the KL penalty."""

from __future__ import annotations

from torch import Tensor

from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.megatron.schedule import Schedule, TokenRows
from nemo_prorl.megatron.snapshot import WeightSnapshot


def logprobs_of(batch: RolloutBatch, schedule: Schedule) -> Tensor:
    """[B, T] float32, on the CPU: what the model makes of `batch` with the weights it has now, at its temperature."""
    rows = TokenRows(batch.tokens_BS, batch.lengths_B, batch.prompt_lengths_B, batch.updates)
    return schedule.score(rows, batch.temperature).logprobs_BT.cpu()


class ReferencePolicy:
    """A frozen copy of the policy's weights, run through the policy's own model by swapping pointers.

    So the reference always has the policy's precision and layout: right after a reset its logprobs equal the policy's
    bit for bit, and KL is 0.
    """

    def __init__(self, snapshot: WeightSnapshot, schedule: Schedule) -> None:
        self.snapshot, self._schedule = snapshot, schedule

    def logprobs(self, batch: RolloutBatch) -> Tensor:
        """See `logprobs_of`."""
        with self.snapshot.in_place():
            return logprobs_of(batch, self._schedule)

    def reset_to_policy(self) -> None:
        """From now on the reference is what the policy is at this moment."""
        self.snapshot.refresh()
