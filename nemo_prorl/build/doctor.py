"""Trainer and rollout engine side by side from one checkpoint, to be looked over."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nemo_prorl.build import open_engine
from nemo_prorl.build.rollouts import rollout_maker
from nemo_prorl.build.stages import recipe_from
from nemo_prorl.config.schema import ProRLConfig
from nemo_prorl.data.batch import RolloutBatch
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import DataError
from nemo_prorl.megatron.layout import fitting_architecture
from nemo_prorl.megatron.model import PolicyModel
from nemo_prorl.megatron.schedule import TokenRows
from nemo_prorl.megatron.weights import export_weights
from nemo_prorl.rollout.checkup import Checkup, Trainer
from nemo_prorl.rollout.engine import closed_at_end
from nemo_prorl.world import world_size_from_environment

QUESTIONS = (
    "What is 17 + 25? Answer with the number alone.",
    "Name the capital of France in one word.",
    "Is 91 a prime number? Answer yes or no.",
    "Write a Python function that returns the larger of two numbers.",
)


@contextmanager
def rollout_checkup(config: ProRLConfig, *, samples: int, response_tokens: int) -> Iterator[Checkup]:
    """A checkup with the settings of a run: its first stage's sampling, its longest context."""
    architecture = fitting_architecture(config, world_size_from_environment())
    stages = list(recipe_from(config.recipe.stages))
    tokenizer = Tokenizer.load(Path(config.model.path))
    make_rollout = rollout_maker(config)
    with (
        open_engine(config, architecture) as engine,
        closed_at_end(make_rollout(tokenizer=tokenizer, device=engine.runtime.device)) as rollout,
    ):

        def score(batch: RolloutBatch) -> Tensor:
            rows = TokenRows(batch.tokens_BS, batch.lengths_B, batch.prompt_lengths_B)
            return engine.schedule.score(rows, batch.temperature).logprobs_BT.cpu()

        prompts = _prompts(tokenizer)
        longest = max(len(prompt.token_ids) for prompt in prompts)
        sampling = replace(
            stages[0].sampling,
            samples_per_prompt=samples,
            max_response_tokens=response_tokens,
            context_tokens=max(
                min(max(stage.sampling.context_tokens for stage in stages), architecture.max_positions),
                longest + response_tokens,
            ),
            seed=config.run.seed,
        )
        trainer = Trainer(
            score,
            weights=lambda: export_weights(engine.model),
            change=lambda amount: change(engine.model, amount),
        )
        yield Checkup(
            *(rollout, trainer, engine.runtime.world),
            prompts=prompts,
            sampling=sampling,
            stop_ids=tokenizer.stop_ids,
            limit=config.gate.limit,
        )


@torch.no_grad()
def change(model: PolicyModel, amount: float) -> None:
    """Every parameter by about `amount` of its own size: the same way on every rank that holds a copy of it."""
    for parameter in model.parameters():
        size = parameter.float().square().mean().sqrt().clamp(min=1e-12)
        parameter.add_((amount * size * torch.sin(997 * parameter.float() / size)).to(parameter.dtype))


def _prompts(tokenizer: Tokenizer) -> list[Prompt]:
    prompts = []
    for number, question in enumerate(QUESTIONS):
        try:
            ids = tokenizer.render([{"role": "user", "content": question}])
        except DataError:  # a base model without a chat template
            ids = tokenizer.encode(question)
        prompts.append(Prompt(f"question-{number}", "math", "doctor", "doctor", (), tuple(ids), "math", {}))
    return prompts
