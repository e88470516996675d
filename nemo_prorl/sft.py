"""The cold start: supervised fine-tuning on (messages, response) rows, on the same Megatron engine.

RL can only sharpen or combine what a policy sometimes does; a model that never answers in the wanted form earns no
reward at all. A short cold start teaches it the form.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn, TypeAlias

import torch
from torch import Tensor

from nemo_prorl.actor.export import Export
from nemo_prorl.algorithm.reduction import Mean, Metric, token_mean
from nemo_prorl.config.identity import RunIdentity
from nemo_prorl.config.schema import SupervisedConfig
from nemo_prorl.config.updates import BadUpdatesConfig
from nemo_prorl.control import RunControl
from nemo_prorl.data.sources.demonstrations import DemonstrationSource, encode_demonstration
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import CheckpointError, DataError, Stopped
from nemo_prorl.megatron.checkpoint import Checkpoints
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.optimizer import PolicyOptimizer
from nemo_prorl.megatron.schedule import Schedule, TokenRows, TokenScores
from nemo_prorl.pulse import PULSE
from nemo_prorl.telemetry.metrics import MetricsLog, StepMetrics
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.telemetry.timer import Timer
from nemo_prorl.update_guard import UpdateGuard
from nemo_prorl.world import World, gather_or_raise

NAMED_AT_MOST = 5  # demonstrations that are too long, in a message

Encoded: TypeAlias = tuple[list[int], list[int]]  # ids of the prompt, ids of the response


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
        identity: RunIdentity,
        metrics: MetricsLog,
        progress: Progress,
        control: RunControl,
        world: World,
        export: Export | None,
        export_to: Path,
    ) -> None:
        self.model, self.schedule, self.optimizer = model, schedule, optimizer
        self.updates = UpdateGuard(optimizer, BadUpdatesConfig(not_finite="stop"))
        self.demonstrations, self.tokenizer, self.config, self.world = demonstrations, tokenizer, config, world
        self.checkpoints, self.save_every, self.identity = checkpoints, save_every, identity
        self.metrics, self.progress, self.export, self.export_to = metrics, progress, export, export_to
        self.control = control
        self.timer = Timer(progress.phase)
        self.step = 0
        self.saved_step = 0

    def fit(self) -> None:
        """From wherever the run stands to its last step, then export. What can be known to fail is found first.

        Raises:
            Stopped: the run was asked to stop. Everything is saved, and another `fit` goes on.
        """
        if self.export is not None:
            self.export.check(self.export_to)
        self.resume()
        self.check_demonstrations()
        while self.step < self.config.steps:
            try:
                self.control.stop_if_asked()
            except Stopped as stop:
                self.leave(stop)
            with self.timer("step"):
                values = self.train_step().values()
            self.step += 1
            values.update(self.timer.drain())
            self.metrics.write(self.step, values, kind="sft")
            self.progress.step(self.step, "cold start", values)
            self.note_checkpoint(self.checkpoints.whole_since())
            if self.step == self.config.steps or (self.save_every and self.step % self.save_every == 0):
                self.save()
        self.note_checkpoint(self.checkpoints.wait())
        if self.export is not None:
            with self.timer("export"):
                self.export(self.model, self.export_to)

    def save(self) -> None:
        """Everything that going on needs. It may be written while training goes on."""
        state = {"step": self.step, **self.identity.as_state()}
        with self.timer("checkpoint"):
            self.checkpoints.save(self.step, self.model, self.optimizer, {}, state)
        self.saved_step = self.step

    def note_checkpoint(self, written: Path | None) -> None:
        if written is not None:
            self.progress.saved(written.name)

    def leave(self, stop: Stopped) -> NoReturn:
        """Asked to stop: save what isn't saved yet, and say that the same command goes on."""
        self.progress.stopping(str(stop))
        if self.saved_step != self.step:
            self.save()
        self.note_checkpoint(self.checkpoints.wait())
        self.control.stop_is_done()
        raise Stopped(f"stopped after step {self.step} of {self.config.steps} ({stop}); the same command goes on")

    def train_step(self) -> StepMetrics:
        """One update on this step's demonstrations."""
        rows = self.rows_of_this_rank()
        scored_BT = rows.scored_BT

        def negative_log_likelihood(scores: TokenScores, indices: Tensor) -> tuple[Mean, dict[str, Metric]]:
            mask_BT = scored_BT[indices, : scores.logprobs_BT.shape[1]].to(scores.logprobs_BT.device)
            return token_mean(-scores.logprobs_BT, mask_BT), {}

        self.optimizer.zero_grad()
        loss, metrics = self.schedule.train(rows, 1.0, negative_log_likelihood)
        return StepMetrics().add(self.updates.step({**metrics, "sft/loss": loss}))

    def check_demonstrations(self) -> None:
        """Look at each row of a source that ends which the run is still to meet; the ranks share the work.

        Raises:
            DataError: rows are too long, or can't be read; on every rank.
        """
        per_epoch, per_step = self.demonstrations.size, self.config.sequences_per_step
        if per_epoch is None:
            return
        first, end = self.step * per_step, self.config.steps * per_step
        self._encoded(range(first + self.world.rank, min(first + per_epoch, end), self.world.size), keep=False)

    def rows_of_this_rank(self) -> TokenRows:
        """Demonstrations number step * n ... step * n + n - 1, cut into equal shares.

        Raises:
            DataError: some rank's are too long, or can't be read; on every rank.
        """
        share = self.config.sequences_per_step // self.world.data_size
        first = self.step * self.config.sequences_per_step + self.world.data_rank * share
        pairs = self._encoded(range(first, first + share))
        lengths = [len(prompt) + len(response) for prompt, response in pairs]
        tokens_BS = torch.zeros(len(pairs), max(lengths), dtype=torch.int64)
        for b, (prompt, response) in enumerate(pairs):
            tokens_BS[b, : lengths[b]] = torch.tensor([*prompt, *response])
        return TokenRows(tokens_BS, torch.tensor(lengths), torch.tensor([len(prompt) for prompt, _ in pairs]))

    def _encoded(self, numbers: Sequence[int], *, keep: bool = True) -> list[Encoded]:
        """Each demonstration's tokens; none unless they are to be kept. Collective: a failure ends every rank."""
        pairs: list[Encoded] = []
        failure = None
        try:
            for pair in encoded_within(self.demonstrations, numbers, self.tokenizer, self.config.max_sequence_tokens):
                if keep:
                    pairs.append(pair)
        except Exception as error:
            failure = error
        gather_or_raise(self.world, None, failure, "reading demonstrations")
        return pairs

    def resume(self) -> None:
        """Go on from the newest whole checkpoint, if there is one.

        Raises:
            CheckpointError: it belongs to a run of another model, or of more steps.
        """
        newest = self.checkpoints.newest()
        if newest is not None:
            restored = self.checkpoints.restore(newest, self.model, self.optimizer, {})
            changed = self.identity.recognise(restored)
            self.step = self.saved_step = restored["step"]
            if self.step > self.config.steps:
                raise CheckpointError(
                    f"the run in this folder has done {self.step} steps, more than sft.steps={self.config.steps}; "
                    "choose another run.dir, or set as many"
                )
            for change in changed:
                self.progress.say(f"since the checkpoint this has changed: {change}")
            is_over = self.step == self.config.steps
            done = "complete, nothing is left to train" if is_over else f"resumed after step {self.step}"
            self.progress.say(f"the run in this folder is {done}")
        self.metrics.resume(self.step if newest is not None else None)
        self.progress.resume(self.step)


def encoded_within(
    source: DemonstrationSource, numbers: Iterable[int], tokenizer: Tokenizer, longest: int
) -> Iterator[Encoded]:
    """Ids of prompt and response of each demonstration.

    Raises:
        DataError: at the end, when some had more than `longest` tokens; it names the first of them.
    """
    named: list[str] = []
    too_long = 0
    for number in numbers:
        PULSE.beat()
        demonstration = source.row(number)
        prompt, response = encode_demonstration(tokenizer, demonstration)
        tokens = len(prompt) + len(response)
        if tokens > longest:
            too_long += 1
            where = f" ({demonstration.where})" if demonstration.where else ""
            if len(named) < NAMED_AT_MOST:
                named.append(f"demonstration {number}{where} has {tokens} tokens")
        else:
            yield prompt, response
    if too_long:
        more = f", and {too_long - len(named)} more" if too_long > len(named) else ""
        raise DataError(
            f"over sft.max_sequence_tokens={longest}: {', '.join(named)}{more}; raise it, or shorten or remove them"
        )
