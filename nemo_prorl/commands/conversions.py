"""What `prorl convert` does, on the Megatron engine in this one process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from nemo_prorl.config.schema import MegatronConfig
from nemo_prorl.errors import CheckpointError, ConfigError, WeightsError
from nemo_prorl.megatron.checkpoint import Checkpoints
from nemo_prorl.megatron.model import build_model
from nemo_prorl.megatron.runtime import Runtime
from nemo_prorl.megatron.schedule import Schedule, TokenRows, TokenScores
from nemo_prorl.megatron.stored import StoredModel
from nemo_prorl.megatron.weights import export_weights, load_weights
from nemo_prorl.weights.architecture import Architecture, Dtype
from nemo_prorl.weights.hf_folder import TensorReader, write_hf_folder
from nemo_prorl.world import world_size_from_environment

SCORED_SHAPE = 4, 64  # rows and tokens of the random text that two models are compared on

WeightStream = Iterator[tuple[str, Tensor]]


def hf_to_megatron(source: Path, destination: Path, *, vocabulary_multiple: int) -> Path:
    """Write a Hugging Face folder as a torch_dist checkpoint, which every parallel layout can load; returns its path.

    bf16 stays bf16, fp32 and fp16 become fp32, which holds both.

    Raises:
        CheckpointError: `destination` is not empty, or can't be written.
        WeightsError: the source is not a model that we can train.
    """
    architecture = Architecture.read(source)
    if destination.exists() and not (destination.is_dir() and not any(destination.iterdir())):
        raise CheckpointError(f"{destination} is not an empty folder; choose another, or empty it yourself.")
    config = MegatronConfig(
        precision="bf16" if architecture.dtype == "bf16" else "fp32", vocabulary_multiple=vocabulary_multiple
    )
    with _one_process(config) as runtime, TensorReader(source) as reader:
        reader.check(architecture)
        model = build_model(architecture, config, runtime)
        load_weights(model, reader)
        return Checkpoints(destination, runtime).save(0, model, None, {}, {"source": str(source)})


def megatron_to_hf(
    checkpoint: Path,
    destination: Path,
    *,
    like: Path,
    dtype: Dtype | None,
    max_shard_bytes: int,
    overwrite: bool,
    watch: Callable[[WeightStream], WeightStream],
) -> Path:
    """Write a checkpoint's policy as a Hugging Face folder; returns the path of the checkpoint that was taken.

    `checkpoint` is one, or a folder of them, of which the newest whole one is taken. The stream of weights goes
    through `watch` on its way.

    Raises:
        CheckpointError: there is no whole checkpoint, or not of a model like `like`.
        WeightsError: `like` is no supported model, or `destination` can't be written.
    """
    architecture = Architecture.read(like)
    with _one_process(MegatronConfig()) as runtime:
        path = _whole_checkpoint(checkpoint, runtime)
        config = _config_of(path, architecture, like)
        model = build_model(architecture, config, runtime)
        Checkpoints(path.parent, runtime).restore(path, model, None, {})
        write_hf_folder(
            destination,
            watch(export_weights(model)),
            like=like,
            dtype=dtype,
            max_shard_bytes=max_shard_bytes,
            overwrite=overwrite,
        )
    return path


def largest_logprob_difference(first: Path, second: Path) -> float:
    """The largest difference of a token's logprob under two models, computed in fp32 on the same random tokens.

    Raises:
        WeightsError: the two are not of one architecture.
    """
    architecture, other = Architecture.read(first), Architecture.read(second)
    tokens_BS = torch.randint(architecture.vocab_size, SCORED_SHAPE, generator=torch.Generator().manual_seed(0))
    rows = TokenRows(tokens_BS, torch.full((SCORED_SHAPE[0],), SCORED_SHAPE[1]))
    if replace(other, dtype=architecture.dtype) != architecture:
        raise WeightsError(f"{first} and {second} have different architectures, so their logprobs can't be compared.")
    config = MegatronConfig()
    scores: list[TokenScores] = []
    with _one_process(config) as runtime:
        model = build_model(architecture, config, runtime)
        schedule = Schedule(model, runtime)
        for folder in (first, second):
            with TensorReader(folder) as reader:
                load_weights(model, reader)
            scores.append(schedule.score(rows, temperature=1.0))
    return float((scores[0].logprobs_BT - scores[1].logprobs_BT).abs().max())


def _one_process(config: MegatronConfig) -> Runtime:
    if (ranks := world_size_from_environment()) > 1:
        raise ConfigError(f"prorl convert was started as {ranks} ranks; start it once, without torchrun or srun.")
    return Runtime.start(config, seed=0, torch_threads=1)


def _whole_checkpoint(path: Path, runtime: Runtime) -> Path:
    """`path` itself when it is a checkpoint, else the newest whole one in it."""
    if not path.is_dir():
        raise CheckpointError(f"{path} is not a folder; give a checkpoint (iter_...), or the folder of a run's ones.")
    if any(path.glob("iter_*")):
        newest = Checkpoints(path, runtime).newest()
        if newest is None:
            raise CheckpointError(f"{path} holds no whole checkpoint; the log says what is wrong with each.")
        return newest
    if damage := Checkpoints(path.parent, runtime).damage(path):
        raise CheckpointError(f"{path} is not a whole checkpoint: {damage}. Give another (iter_...), or their folder.")
    return path


def _config_of(path: Path, architecture: Architecture, like: Path) -> MegatronConfig:
    """The settings under which the checkpoint's tensors have the shapes and the dtype that they are stored in."""
    stored = StoredModel.read(path)
    stored.check(architecture, like)
    return MegatronConfig(
        precision="bf16" if stored.dtype == torch.bfloat16 else "fp32", vocabulary_multiple=stored.padded_vocab
    )
