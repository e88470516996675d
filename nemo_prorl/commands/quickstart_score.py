"""The held-out score of a model folder, by the very validation that a training's settings describe."""

from __future__ import annotations

from pathlib import Path

from nemo_prorl.config.schema import ProRLConfig, as_knobs
from nemo_prorl.data.mixture import held_out
from nemo_prorl.data.sampling import SamplingParams
from nemo_prorl.data.sources import SOURCES
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.evaluation.runner import ValidationResult, Validator
from nemo_prorl.plugins import configured
from nemo_prorl.rollout.transformers_engine import TransformersEngine
from nemo_prorl.verifiers.pool import VerifierPool
from nemo_prorl.weights.hf_folder import TensorReader
from nemo_prorl.world import LocalWorld


def score(config: ProRLConfig) -> ValidationResult:
    """What `prorl train` with these settings would report of `model.path` before its first step."""
    folder = Path(config.model.path)
    tokenizer = Tokenizer.load(folder)
    sources = {
        name: configured(as_knobs(source, "weight"), SOURCES, f"data.held_out.{name}")(name)
        for name, source in config.data.held_out.items()
    }
    prompts = held_out(
        sources,
        tokenizer,
        problems_per_task=config.validation.problems_per_task,
        max_prompt_tokens=config.data.max_prompt_tokens,
        long_prompts=config.data.long_prompts,
    )
    stage = next(iter(config.recipe.stages.values()))
    limits = SamplingParams(
        samples_per_prompt=stage.samples_per_prompt,
        max_response_tokens=stage.max_response_tokens or stage.context_tokens,
        context_tokens=stage.context_tokens,
    )
    engine, reader = TransformersEngine(folder, tokenizer), TensorReader(folder)
    engine.load_weights((name, reader.get(name)) for name in reader.names)
    with VerifierPool(**config.verifiers.model_dump()) as pool:
        validator = Validator(
            engine=engine,
            pool=pool,
            prompts=prompts,
            world=LocalWorld(),
            config=config.validation,
            run_seed=config.run.seed,
        )
        return validator.run(0, limits)
