"""What the trainer asks of a policy: NeMo-Aligner's interface with types, and what that interface forgot.

`AlignableGenerativeInterface` names the phases (prepare / do / finish) that a NeMo-Aligner user knows. It leaves
types, the inference logprobs, and everything about the reference and resuming to convention; here they are written
down. This is the one file that imports nemo_aligner.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from nemo_aligner.models.alignable_interface import AlignableGenerativeInterface
from torch import Tensor

from nemo_prorl.algorithm.reduction import Metric
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import ShapeError
from nemo_prorl.recipe import Stage
from nemo_prorl.rollout.engine import Sampled

Metrics = dict[str, Metric]
AnyBatch = RolloutBatch | Mapping[str, Any]  # a mapping has NeMo-Aligner's keys, see `from_aligner`


class Optimizer(Protocol):
    """The one verb the step needs of an optimizer."""

    def step(self, *, objection: str = "", norm_limit: float | None = None) -> Mapping[str, Metric | float]:
        """Update the weights; says the gradient's norm, `optimizer/grad_norm`, and more.

        Raises:
            BadUpdateError: some rank has an `objection`, a gradient is not finite, or its norm is above the limit. No
                weight and no moment has been touched, on any rank.
        """
        ...


class PolicyActor(AlignableGenerativeInterface):  # type: ignore[misc]
    """The policy under training. Every method is collective: all ranks call it, in the same order."""

    @abstractmethod
    def enter_stage(self, stage: Stage) -> None:
        """Use the stage's settings (KL weight) from now on."""

    # -- rollouts ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def prepare_for_inference(self) -> None:
        """Give the rollout engine the newest weights. Use `phases.inference_phase`."""

    @abstractmethod
    def infer(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        """Sample completions; see `RolloutEngine.generate`."""

    @abstractmethod
    def finish_inference(self) -> None:
        """Let the rollout engine give its memory back."""

    @abstractmethod
    def renew_engine(self) -> None:
        """Make the rollout engine anew if it has failed, outside of the inference phase."""

    # -- logprobs ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def get_inference_log_probs(self, batch: AnyBatch) -> Tensor:
        """The present policy's logprobs of `batch`, [B, T] float32, at `batch.temperature`: pi_old of Eq. 1."""

    @abstractmethod
    def get_init_policy_logprobs(self, batch: AnyBatch) -> Tensor:
        """The reference policy's logprobs of `batch`, [B, T] float32, at `batch.temperature`: pi_ref of Eq. 4."""

    @abstractmethod
    def get_base_policy_logprobs(self, batch: AnyBatch) -> Tensor:
        """The logprobs of `batch` by the model that the run started from, [B, T] float32, at `batch.temperature`."""

    # -- training ----------------------------------------------------------------------------------------------------

    @abstractmethod
    def prepare_for_training(self) -> None:
        """Bring back what training needs in memory. Use `phases.training_phase`."""

    @abstractmethod
    def prepare_for_training_step(self) -> None:
        """Clear gradients."""

    @abstractmethod
    def get_loss_and_metrics(self, batch: AnyBatch, forward_only: bool) -> tuple[Tensor, Metrics]:
        """Loss of one update's groups and its metrics, both reduced over microbatches and data-parallel ranks.

        With `forward_only` false the gradients of the mean loss are left in the gradient buffers.
        """

    @abstractmethod
    def finish_training_step(self) -> None:
        """Reduce gradients over ranks, where the loss has not done it."""

    @abstractmethod
    def finish_training(self) -> None:
        """Release what only training needs."""

    # -- the reference, resets, checkpoints: not in NeMo-Aligner -----------------------------------------------------

    @abstractmethod
    def return_to(self, step: int) -> None:
        """Take the policy's weights from the checkpoint of `step`; the optimizer keeps its moments."""

    @abstractmethod
    def reset_reference(self) -> None:
        """Make the present policy the reference (a ProRL hard reset)."""

    @abstractmethod
    def reset_optimizer(self) -> None:
        """Fresh moments, step count and master weights; the learning rate goes on."""

    @abstractmethod
    def save_checkpoint(
        self,
        step: int,
        state: Mapping[str, Any],
        *,
        score: float | None = None,
        measure: str = "",
        tags: Sequence[str] = (),
    ) -> Path:
        """Write policy, optimizer, reference and `state`; whole or not at all. It may be written after this returns.

        `score` of this policy in validation (more is better; of one `measure` scores can be compared) and `tags` say
        which checkpoints are to be kept.
        """

    @abstractmethod
    def checkpoint_written(self, *, wait: bool = False) -> Path | None:
        """A checkpoint that has become whole since this was asked last; with `wait`, once nothing is being written.

        Raises:
            CheckpointError: it could not be written.
        """

    @abstractmethod
    def restore_checkpoint(self) -> dict[str, Any] | None:
        """Load the newest whole checkpoint and return its `state`; None when there is none."""

    @abstractmethod
    def export(self, folder: Path) -> None:
        """Write the policy as a Hugging Face folder."""


def to_aligner(batch: RolloutBatch) -> dict[str, Any]:
    """The batch under the keys that NeMo-Aligner's GRPO actor reads, and three more that `from_aligner` does."""
    known = {
        "response_tokens": batch.tokens_BS,
        "prompt_lengths": batch.prompt_lengths_B,
        "response_lengths": batch.lengths_B,  # as there: prompt and response together
        "mask": batch.response_mask_BT.float(),
        "rewards": batch.rewards_GN.reshape(-1),
        "advantages": batch.advantages_BT,
        "logprobs": batch.old_logprobs_BT,
        "init_logprobs": batch.reference_logprobs_BT,
        "inference_logprobs": batch.sampler_logprobs_BT,
        "temperature": batch.temperature,
        "samples_per_prompt": batch.rewards_GN.shape[1],
        "domains": batch.domains_B,
    }
    return {key: value for key, value in known.items() if value is not None}


def from_aligner(batch: Mapping[str, Any]) -> RolloutBatch:
    """A `RolloutBatch` from NeMo-Aligner's keys.

    `temperature` is required, since forgetting it is that code's bug. A `mask` may be given, but it must be the one
    that follows from the lengths: every response token counts. Without `rewards` there are zeros, and metrics by domain
    say "unknown" without `domains`; the loss depends on neither.

    Raises:
        ShapeError: the mask leaves out response tokens or takes in others.
    """
    count = batch["response_tokens"].shape[0]
    optional = {
        ours: batch[theirs]
        for ours, theirs in (
            ("advantages_BT", "advantages"),
            ("old_logprobs_BT", "logprobs"),
            ("reference_logprobs_BT", "init_logprobs"),
            ("sampler_logprobs_BT", "inference_logprobs"),
        )
        if theirs in batch
    }
    made = RolloutBatch(
        tokens_BS=batch["response_tokens"],
        prompt_lengths_B=batch["prompt_lengths"],
        lengths_B=batch["response_lengths"],
        rewards_GN=batch.get("rewards", torch.zeros(count)).view(-1, batch.get("samples_per_prompt", 1)),
        temperature=batch["temperature"],
        domains_B=tuple(batch.get("domains", ("unknown",) * count)),
        **optional,
    )
    if "mask" in batch and not torch.equal(batch["mask"].bool(), made.response_mask_BT):
        raise ShapeError(
            "mask differs from the response tokens that prompt_lengths and response_lengths tell; tokens can't be left "
            "out of the loss by a mask here: shorten response_lengths, or set their advantages to 0"
        )
    return made
