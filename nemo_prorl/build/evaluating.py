"""The wiring of an evaluation: a model of any format, an engine that has it, and the problems it is asked."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from nemo_prorl.config.choice import as_knobs
from nemo_prorl.config.evaluate import BenchmarkConfig, EvaluateConfig
from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.data.benchmarks.sets import EVALUATION_SETS
from nemo_prorl.data.mixture import Objection, held_out
from nemo_prorl.data.prompt import Prompt
from nemo_prorl.data.sampling import step_seed
from nemo_prorl.data.sources import SOURCES
from nemo_prorl.data.sources.base import Source
from nemo_prorl.data.tokenizer import Tokenizer
from nemo_prorl.errors import ConfigError, WeightsError
from nemo_prorl.evaluation.evaluator import Evaluator
from nemo_prorl.evaluation.folder import EvaluationFolder
from nemo_prorl.evaluation.published import check_published
from nemo_prorl.evaluation.records import Manifest, ModelRecord, SamplingRecord, SetRecord
from nemo_prorl.megatron.interop.model_folder import ModelFolder, folder_identity, open_folder, step_of
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.plugins import configured
from nemo_prorl.rollout.engine import chosen_engine, closed_at_end, takes_weights
from nemo_prorl.telemetry.environment import package_versions
from nemo_prorl.telemetry.progress import Progress
from nemo_prorl.telemetry.run import Run
from nemo_prorl.verifiers.configured_pool import verifier_pool
from nemo_prorl.weights.hf_writer import write_companions, write_config
from nemo_prorl.world import rank_from_environment

MODEL_FILES = "model_files"  # in run.dir: config and tokenizer of a checkpoint that has no folder with both

PLACES_IN_A_RUN = ("checkpoints", "export", "weights")


@contextmanager
def evaluation(config: EvaluateConfig, run: Run) -> Iterator[Evaluator]:
    """Everything that `prorl evaluate` needs, wired and open."""
    check_published(config.scores.beside, "scores.beside")
    opened = open_folder(Path(config.model.path), None if config.model.like is None else Path(config.model.like))
    files = described(opened, Path(config.run.dir))
    tokenizer = Tokenizer.load(files)
    with ExitStack() as stack:
        pool = stack.enter_context(verifier_pool(config.verifiers))
        prompts = {name: _prompts(name, one, config, tokenizer, pool.objection) for name, one in _sets(config)}
        settings = MegatronConfig(device=config.device, collective_timeout_minutes=config.collective_timeout_minutes)
        runtime = stack.enter_context(
            Runtime.start(settings, seed=config.run.seed, torch_threads=config.run.torch_threads)
        )
        control = run.join(runtime.world)
        make_engine = chosen_engine(config.rollout)
        engine = stack.enter_context(
            closed_at_end(make_engine(model_path=files, tokenizer=tokenizer, device=runtime.device))
        )
        if takes_weights(engine):  # a server has its own
            engine.load_weights(_weights(opened))
        manifest = _manifest(config, opened, prompts)
        is_main = runtime.world.is_main
        total = sum(asked.problems for asked in manifest.sets.values())
        yield Evaluator(
            engine=engine,
            pool=pool,
            prompts=prompts,
            manifest=manifest,
            folder=EvaluationFolder(config.run.dir),
            world=runtime.world,
            control=control,
            progress=stack.enter_context(Progress(total, is_main=is_main, unit="problem", status=run.status)),
            ks=config.scores.pass_at_k,
            beside=config.scores.beside,
        )


def described(opened: ModelFolder, run_dir: Path) -> Path:
    """A folder with the model's config and tokenizer: its own, or one that is made of what the checkpoint says.

    Raises:
        WeightsError: the checkpoint has no tokenizer.
    """
    if opened.files is None:
        raise WeightsError(
            f"{opened.path} has no tokenizer, so nothing can be asked. Name the Hugging Face folder that the model "
            "came from with model.like=FOLDER"
        )
    if (opened.files / "config.json").is_file():
        return opened.files
    folder = run_dir / MODEL_FILES / f"rank_{rank_from_environment():05d}"
    folder.mkdir(parents=True, exist_ok=True)
    write_config(folder, opened.config, opened.architecture.dtype)
    write_companions(folder, opened.config, opened.files)
    return folder


def name_of(path: Path, step: int | None) -> str:
    """What tables call a model that the user gives no name: its folder's, or that of the run which the folder is of.

    >>> name_of(Path("runs/first/checkpoints/iter_0000200"), 200)
    'first, step 200'
    """
    folder = path.resolve()
    while folder.name in PLACES_IN_A_RUN or folder.name.startswith("iter_"):
        folder = folder.parent
    return folder.name if step is None else f"{folder.name}, step {step}"


def _weights(opened: ModelFolder) -> Iterator[tuple[str, Tensor]]:
    with opened.by_name() as reader:
        for name in reader.names:
            yield name, reader.get(name)


def _sets(config: EvaluateConfig) -> list[tuple[str, BenchmarkConfig]]:
    return sorted(config.benchmarks.items())


def _prompts(
    name: str, one: BenchmarkConfig, config: EvaluateConfig, tokenizer: Tokenizer, objection: Objection
) -> list[Prompt]:
    source: Source = configured(as_knobs(one), SOURCES, f"benchmarks.{name}")(name)
    if source.size is None and one.problems_per_task is None:
        raise ConfigError(
            f"benchmarks.{name} never ends, so it must be said how many problems to ask: set "
            f"benchmarks.{name}.problems_per_task=100"
        )
    found = held_out(
        {name: source},
        tokenizer,
        problems_per_task=one.problems_per_task or sys.maxsize,
        max_prompt_tokens=config.sampling.max_prompt_tokens,
        long_prompts=config.sampling.long_prompts,
        objection=objection,
        setting="benchmarks",
        limits="sampling",
    )
    if not found:
        raise ConfigError(f"benchmarks.{name} has no problems; give its source some, or take it out")
    return found


def _manifest(config: EvaluateConfig, opened: ModelFolder, prompts: Mapping[str, Sequence[Prompt]]) -> Manifest:
    sampling = config.sampling
    return Manifest(
        model=ModelRecord(
            name=config.model.name or name_of(Path(config.model.path), step_of(opened)),
            path=config.model.path,
            format=opened.format,
            identity=folder_identity(opened),
            step=step_of(opened),
        ),
        engine=json.dumps(config.rollout.as_mapping(), sort_keys=True),
        sampling=SamplingRecord(
            temperature=sampling.temperature,
            top_p=sampling.top_p,
            top_k=sampling.top_k,
            max_response_tokens=sampling.max_response_tokens,
            context_tokens=sampling.max_prompt_tokens + sampling.max_response_tokens,
            seed=step_seed(config.run.seed, 0, "evaluation"),
        ),
        sets={name: _set_record(name, one, config, prompts[name]) for name, one in _sets(config)},
        versions=package_versions(),
    )


def _set_record(name: str, one: BenchmarkConfig, config: EvaluateConfig, prompts: Sequence[Prompt]) -> SetRecord:
    knobs: Mapping[str, Any] = as_knobs(one)
    known = knobs.get("set", name)
    return SetRecord(
        title=one.title or (EVALUATION_SETS[known].title if known in EVALUATION_SETS else name),
        problems=len(prompts),
        samples_per_prompt=one.samples_per_prompt or config.sampling.samples_per_prompt,
        solved_reward=one.solved_reward or config.scores.solved_reward,
        score=one.score,
        problems_per_part=config.sampling.problems_per_part,
        identity=_identity(prompts),
    )


def _identity(prompts: Sequence[Prompt]) -> str:
    """A digest of what is asked and by what it is judged; a model's own tokens are no part of it."""
    digest = hashlib.blake2b(digest_size=16)
    for prompt in prompts:
        asked = [prompt.uid, [dict(message) for message in prompt.messages], prompt.verifier, dict(prompt.reference)]
        digest.update(json.dumps(asked, sort_keys=True).encode())
    return digest.hexdigest()
