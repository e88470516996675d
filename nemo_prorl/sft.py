"""The cold start: supervised fine-tuning on (messages, response) rows, on the same Megatron engine.

RL can only sharpen or combine what a policy sometimes does; a model that never answers in the wanted form earns no
reward at all. A short cold start teaches it the form.
"""

from __future__ import annotations

import logging
from pathlib import Path

import torch
from torch import Tensor

from nemo_prorl.actor.export import Export
from nemo_prorl.algorithm.reduction import Mean, Metric, token_mean
from nemo_prorl.config.schema import SupervisedConfig
from nemo_prorl.data.sources.demonstrations import DemonstrationSource, encode_demonstration
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import DataError
from nemo_prorl.megatron.checkpoint import Checkpoints
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.schedule import Schedule, TokenRows, TokenScores
from nemo_prorl.telemetry.metrics import MetricsLog, StepMetrics
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.telemetry.timer import Timer
from nemo_prorl.world import World

log = logging.getLogger(__name__)


class SupervisedTrainer:
    """Minimises the token-mean negative log-likelihood of the responses; prompts are read, not learned."""

    def __init__(
        self,
        *,
        model: PolicyModel,
        schedule: Schedule,
        optimizer: PolicyOptimizer,
        demonstrations: DemonstrationSource,
        tokenizer: Tokenizer,
        config: SupervisedConfig,
        checkpoints: Checkpoints,
        save_every: int | None,
        metrics: MetricsLog,
        progress: Progress,
        world: World,
        export: Export | None,
        export_to: Path,
    ) -> None:
        self.model, self.schedule, self.optimizer = model, schedule, optimizer
        self.demonstrations, self.tokenizer, self.config, self.world = demonstrations, tokenizer, config, world
        self.checkpoints, self.save_every = checkpoints, save_every
        self.metrics, self.progress, self.export, self.export_to = metrics, progress, export, export_to
        self.timer = Timer()
        self.step = 0

    def fit(self) -> None:
        """From wherever the run stands to its last step, then export."""
        self.resume()
        while self.step < self.config.steps:
            with self.timer("step"):
                values = self.train_step().values()
            self.step += 1
            values.update(self.timer.drain())
            self.metrics.write(self.step, values, kind="sft")
            self.progress.step(self.step, "cold start", values)
            if self.step == self.config.steps or (self.save_every and self.step % self.save_every == 0):
                self.checkpoints.save(self.step, self.model, self.optimizer, {}, {"step": self.step})
        if self.export is not None:
            self.export(self.model, self.export_to)

    def train_step(self) -> StepMetrics:
        """One update on this step's demonstrations."""
        rows = self.rows_of_this_rank()
        scored_BT = rows.scored_BT

        def negative_log_likelihood(scores: TokenScores, indices: Tensor) -> tuple[Mean, dict[str, Metric]]:
            mask_BT = scored_BT[indices, : scores.logprobs_BT.shape[1]].to(scores.logprobs_BT.device)
            return token_mean(-scores.logprobs_BT, mask_BT), {}

        self.optimizer.zero_grad()
        loss, metrics = self.schedule.train(rows, 1.0, negative_log_likelihood)
        return StepMetrics().add({**metrics, "sft/loss": loss}).add(self.optimizer.step())

    def rows_of_this_rank(self) -> TokenRows:
        """Demonstrations number step * n ... step * n + n - 1, cut into equal shares."""
        share = self.config.sequences_per_step // self.world.data_size
        first = self.step * self.config.sequences_per_step + self.world.data_rank * share
        pairs = [encode_demonstration(self.tokenizer, self.demonstrations.row(i)) for i in range(first, first + share)]
        longest = self.config.max_sequence_tokens
        for number, (prompt, response) in enumerate(pairs, start=first):
            if len(prompt) + len(response) > longest:
                raise DataError(
                    f"demonstration {number} has {len(prompt) + len(response)} tokens, over "
                    f"sft.max_sequence_tokens={longest}; raise it or shorten the demonstration"
                )
        lengths = [len(prompt) + len(response) for prompt, response in pairs]
        tokens_BS = torch.zeros(len(pairs), max(lengths), dtype=torch.int64)
        for b, (prompt, response) in enumerate(pairs):
            tokens_BS[b, : lengths[b]] = torch.tensor([*prompt, *response])
        return TokenRows(tokens_BS, torch.tensor(lengths), torch.tensor([len(prompt) for prompt, _ in pairs]))

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, if there is one."""
        newest = self.checkpoints.newest()
        if newest is not None:
            self.step = self.checkpoints.restore(newest, self.model, self.optimizer, {})["step"]
        self.metrics.resume(self.step if newest is not None else None)
        self.progress.resume(self.step)
