"""The policy on Megatron Core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from nemo_prorl.actor.export import Export
from nemo_prorl.actor.interface import AnyBatch, Metrics, PolicyActor, from_aligner
from nemo_prorl.actor.reference import ReferencePolicy, logprobs_of
from nemo_prorl.algorithm.diagnostics import of_domains_seen
from nemo_prorl.algorithm.policy_loss import PolicyLoss
from nemo_prorl.algorithm.reduction import Mean
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.prompt import DOMAINS, Prompt
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.errors import ConfigError, TrainingError
from nemo_prorl.megatron.checkpoint import Checkpoints
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.offload import TrainingMemory
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.schedule import Schedule, TokenRows, TokenScores
from nemo_prorl.megatron.snapshot import WeightSnapshot
from nemo_prorl.megatron.weights import export_weights
from nemo_prorl.recipe import Stage
from nemo_prorl.rollout.engine import Sampled
from nemo_prorl.rollout.renewable_engine import RenewableEngine


class MegatronActor(PolicyActor):
    """`PolicyActor` over a Megatron model, its schedule and optimizer, and a rollout engine fed from its weights."""

    def __init__(
        self,
        *,
        model: PolicyModel,
        schedule: Schedule,
        optimizer: PolicyOptimizer,
        memory: TrainingMemory,
        reference: ReferencePolicy | None,
        base: ReferencePolicy | None,
        engine: RenewableEngine,
        loss: PolicyLoss,
        checkpoints: Checkpoints,
        export: Export,
    ) -> None:
        self._model, self._schedule, self.optimizer, self._memory = model, schedule, optimizer, memory
        self._reference, self._base, self._engine, self._loss = reference, base, engine, loss
        self._checkpoints, self._export = checkpoints, export

    def enter_stage(self, stage: Stage) -> None:
        if stage.kl_weight > 0 and self._reference is None:
            raise ConfigError(f"stage {stage.name!r} has kl_weight={stage.kl_weight} but no reference policy was built")
        self._loss = replace(self._loss, kl_weight=stage.kl_weight)

    def prepare_for_inference(self) -> None:
        self._memory.release()
        if self._reference is not None:
            self._reference.snapshot.let_go()  # fetched after a validation, or for a step that was left out
        self._engine.load_weights(export_weights(self._model))

    def infer(self, prompts: Sequence[Prompt], sampling: SamplingParams) -> Iterator[Sampled]:
        return self._engine.generate(prompts, sampling)

    def finish_inference(self) -> None:
        self._engine.release()
        self._fetch_reference()

    def renew_engine(self) -> None:
        self._engine.renew_if_failed()

    def _fetch_reference(self) -> None:
        """Begin to bring its weights to the device, beside what is computed before its turn."""
        if self._reference is not None and self._loss.kl_weight > 0:
            self._reference.snapshot.fetch()

    def get_inference_log_probs(self, batch: AnyBatch) -> Tensor:
        return logprobs_of(_as_batch(batch), self._schedule)

    def get_init_policy_logprobs(self, batch: AnyBatch) -> Tensor:
        if self._reference is None:
            raise ConfigError("the reference's logprobs were asked for, but every stage has kl_weight=0")
        return self._reference.logprobs(_as_batch(batch))

    def get_base_policy_logprobs(self, batch: AnyBatch) -> Tensor:
        if self._base is None:
            raise ConfigError("the base model's logprobs were asked for, but loss.kl.base_every_steps is null")
        return self._base.logprobs(_as_batch(batch))

    def prepare_for_training(self) -> None:
        self._memory.restore()

    def prepare_for_training_step(self) -> None:
        self.optimizer.zero_grad()

    def get_loss_and_metrics(self, batch: AnyBatch, forward_only: bool) -> tuple[Tensor, Metrics]:
        batch = _as_batch(batch)
        policy_loss = _LossOfRows(self._loss, batch)
        rows = TokenRows(batch.tokens_BS, batch.lengths_B, batch.prompt_lengths_B)
        mean, metrics = self._schedule.train(rows, batch.temperature, policy_loss, forward_only=forward_only)
        metrics = of_domains_seen(metrics, DOMAINS)
        return mean.total / mean.count.clamp(min=1), {**metrics, "policy/total_loss": mean}

    def finish_training_step(self) -> None:
        pass  # Megatron's schedule has reduced the gradients already

    def finish_training(self) -> None:
        self._memory.release()

    def return_to(self, step: int) -> None:
        with self._memory.here():
            self._checkpoints.restore_policy(self._checkpoints.of_step(step), self._model, self.optimizer)

    def reset_reference(self) -> None:
        if self._reference is not None:
            self._reference.reset_to_policy()

    def reset_optimizer(self) -> None:
        with self._memory.here():
            self.optimizer.reset()

    def save_checkpoint(
        self,
        step: int,
        state: Mapping[str, Any],
        *,
        score: float | None = None,
        measure: str = "",
        tags: Sequence[str] = (),
    ) -> Path:
        with self._memory.here():
            return self._checkpoints.save(
                step, self._model, self.optimizer, self._snapshots, state, score=score, measure=measure, tags=tags
            )

    def checkpoint_written(self, *, wait: bool = False) -> Path | None:
        return self._checkpoints.wait() if wait else self._checkpoints.whole_since()

    def restore_checkpoint(self) -> dict[str, Any] | None:
        newest = self._checkpoints.newest()
        if newest is None:
            return None
        with self._memory.here():
            return self._checkpoints.restore(newest, self._model, self.optimizer, self._snapshots)

    def export(self, folder: Path) -> None:
        self._export(self._model, folder)

    @property
    def _snapshots(self) -> dict[str, WeightSnapshot]:
        return {} if self._reference is None else {"reference": self._reference.snapshot}


def _as_batch(batch: AnyBatch) -> RolloutBatch:
    return batch if isinstance(batch, RolloutBatch) else from_aligner(batch)


class _LossOfRows:
    """The policy loss of some rows of a batch, as `Schedule.train` asks for it microbatch by microbatch."""

    def __init__(self, loss: PolicyLoss, batch: RolloutBatch) -> None:
        if batch.advantages_BT is None:
            raise TrainingError("a batch needs advantages before its loss can be taken; see RolloutBatch.with_")
        self._loss, self._batch = loss, batch
        self._advantages_BT = batch.advantages_BT
        self._domains_DB = torch.tensor([[domain == own for own in batch.domains_B] for domain in DOMAINS])

    def __call__(self, scores: TokenScores, row_indices: Tensor) -> tuple[Mean, Metrics]:
        width, device = scores.logprobs_BT.shape[1], scores.logprobs_BT.device
        indices = row_indices.cpu()

        def rows(tensor_BT: Tensor) -> Tensor:
            return tensor_BT[indices, :width].to(device)

        def rows_if_known(tensor_BT: Tensor | None) -> Tensor | None:
            return None if tensor_BT is None else rows(tensor_BT)

        return self._loss(
            scores.logprobs_BT,
            scores.entropies_BT,
            advantages_BT=rows(self._advantages_BT),
            old_logprobs_BT=rows_if_known(self._batch.old_logprobs_BT),
            reference_logprobs_BT=rows_if_known(self._batch.reference_logprobs_BT),
            sampler_logprobs_BT=rows_if_known(self._batch.sampler_logprobs_BT),
            mask_BT=rows(self._batch.response_mask_BT),
            base_logprobs_BT=rows_if_known(self._batch.base_logprobs_BT),
            fresh_rows_B=None if self._batch.fresh_B is None else self._batch.fresh_B[indices].to(device),
            rows_of_domain=dict(zip(DOMAINS, self._domains_DB[:, indices].to(device), strict=True)),
        )
