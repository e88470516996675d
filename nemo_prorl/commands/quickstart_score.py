"""The held-out score of a model folder, by the very validation that a training's settings describe."""

from __future__ import annotations

from pathlib import Path

from nemo_prorl.build import held_out_from
from nemo_prorl.build.stages import recipe_from
from nemo_prorl.config.schema import ProRLConfig
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.evaluation.result import ValidationResult
from nemo_prorl.evaluation.runner import Validator
from nemo_prorl.rollout.engine import closed_at_end
from nemo_prorl.rollout.native.engine import native_or_transformers
from nemo_prorl.verifiers.configured_pool import verifier_pool
from nemo_prorl.weights.hf_folder import TensorReader
from nemo_prorl.world import LocalWorld


def score(config: ProRLConfig) -> ValidationResult:
    """What `prorl train` with these settings would report of `model.path` before its first step."""
    folder = Path(config.model.path)
    tokenizer = Tokenizer.load(folder)
    sets = held_out_from(config, tokenizer)
    limits = recipe_from(config.recipe.stages).stages[0].sampling
    with closed_at_end(native_or_transformers(folder, tokenizer)) as engine, verifier_pool(config.verifiers) as pool:
        with TensorReader(folder) as reader:
            engine.load_weights((name, reader.get(name)) for name in reader.names)
        validator = Validator(
            engine=engine,
            pool=pool,
            sets=sets,
            world=LocalWorld(),
            config=config.validation,
            run_seed=config.run.seed,
        )
        return validator.run(0, limits)
