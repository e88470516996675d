"""Which model fits which layout of ranks: plain arithmetic, asked before anything is built.

Nothing here imports torch or Megatron, so that `--dry-run` can ask too.
"""

from __future__ import annotations

from math import gcd, lcm
from pathlib import Path

from nemo_prorl.config.schema import MegatronConfig, ProRLConfig, SFTConfig
from nemo_prorl.errors import SettingsError
from nemo_prorl.megatron.chips import CHIPS
from nemo_prorl.megatron.machine import chip_problems
from nemo_prorl.megatron.precision import model_problems
from nemo_prorl.weights.architecture import Architecture


def fitting_architecture(config: ProRLConfig | SFTConfig, world_size: int) -> Architecture:
    """The model's architecture, after everything about it that this run could stumble over has been checked.

    Raises:
        WeightsError: there is no usable model in model.path.
        SettingsError: the layout doesn't fit, an update can't be shared out evenly over data-parallel ranks, rows may
            be longer than the model has positions, or the precision doesn't go with the rest.
    """
    architecture = Architecture.read(Path(config.model.path))
    check_layout(architecture, config.megatron, world_size)
    ranks = data_parallel_size(config.megatron, world_size)
    problems = (
        [
            f"{setting}={tokens}, but the model was made for {architecture.max_positions} positions "
            f"(max_position_embeddings in its config.json); choose at most {architecture.max_positions}"
            for setting, tokens in _row_lengths(config).items()
            if tokens > architecture.max_positions
        ]
        + [
            f"{setting}={tokens}: such a row doesn't fit megatron.max_tokens_per_microbatch="
            f"{config.megatron.max_tokens_per_microbatch}"
            + (f" x context_parallel_size={config.megatron.context_parallel_size}" if _cut(config) > 1 else "")
            + f"; set max_tokens_per_microbatch to {-(-tokens // _cut(config))} or more, or raise context_parallel_size"
            for setting, tokens in _row_lengths(config).items()
            if tokens > config.megatron.max_tokens_per_microbatch * _cut(config)
        ]
        + [
            f"{setting}={count} can't be shared evenly by {ranks} data-parallel ranks; choose a multiple of {ranks}"
            for setting, count in _shared_counts(config).items()
            if count % ranks
        ]
        + _precision_problems(architecture, config)
    )
    if problems:
        raise SettingsError("these settings don't fit:\n" + "\n".join(f"  - {problem}" for problem in problems))
    return architecture


def _precision_problems(architecture: Architecture, config: ProRLConfig | SFTConfig) -> list[str]:
    """Of the model, and of the GPU that is planned for; a run asks its own GPU, too."""
    megatron = config.megatron
    problems = list(model_problems(architecture, megatron, scores_again=isinstance(config, ProRLConfig)))
    if megatron.chip is not None:
        problems += chip_problems(megatron, CHIPS[megatron.chip].capability, f"megatron.chip={megatron.chip}")
    return problems


def _cut(config: ProRLConfig | SFTConfig) -> int:
    return config.megatron.context_parallel_size


def _row_lengths(config: ProRLConfig | SFTConfig) -> dict[str, int]:
    if isinstance(config, SFTConfig):
        return {"sft.max_sequence_tokens": config.sft.max_sequence_tokens}
    stages = config.recipe.stages
    return {f"recipe.stages.{name}.context_tokens": stage.context_tokens for name, stage in stages.items()}


def _shared_counts(config: ProRLConfig | SFTConfig) -> dict[str, int]:
    """What one update trains on, and data-parallel ranks share."""
    if isinstance(config, SFTConfig):
        return {"sft.sequences_per_step": config.sft.sequences_per_step}
    stages = config.recipe.stages
    return {f"recipe.stages.{name}.prompts_per_update": stage.prompts_per_update for name, stage in stages.items()}


def check_layout(architecture: Architecture, config: MegatronConfig, world_size: int) -> None:
    """Refuse a layout that the model or the number of ranks does not allow; all reasons at once.

    Raises:
        SettingsError: what does not fit, with what was found and what is allowed.
    """
    tensor, pipeline, virtual = (
        config.tensor_parallel_size,
        config.pipeline_parallel_size,
        config.virtual_pipeline_size,
    )
    group = model_parallel_size(config)
    problems = []
    for what, count in (
        ("attention heads", architecture.num_heads),
        ("key-value heads", architecture.num_kv_heads),
        ("feed-forward units", architecture.ffn_size),
    ):
        if count % tensor:
            problems.append(
                f"megatron.tensor_parallel_size={tensor} does not divide the model's {count} {what}; "
                f"choose {_listed(_divisors(_common(architecture)))}"
            )
    if architecture.num_layers % pipeline:
        problems.append(
            f"megatron.pipeline_parallel_size={pipeline} does not divide the model's {architecture.num_layers} layers; "
            f"choose {_listed(_divisors(architecture.num_layers))}"
        )
    elif architecture.num_layers % (pipeline * virtual):
        problems.append(
            f"megatron.virtual_pipeline_size={virtual} does not divide the {architecture.num_layers // pipeline} "
            f"layers of a pipeline stage; choose {_listed(_divisors(architecture.num_layers // pipeline))}"
        )
    if world_size % group:
        problems.append(
            f"{world_size} ranks can't be cut into groups of tensor_parallel_size x pipeline_parallel_size x "
            f"context_parallel_size = {tensor} x {pipeline} x {config.context_parallel_size} = {group}; start a "
            f"multiple of {group} (torchrun --nproc-per-node {group}), or choose smaller sizes"
        )
    problems += _not_on_cpu(config)
    if problems:
        raise SettingsError("the parallel layout does not fit:\n" + "\n".join(f"  - {problem}" for problem in problems))


def _not_on_cpu(config: MegatronConfig) -> list[str]:
    if config.device != "cpu":
        return []
    return [
        f"megatron.offload={what} moves the {what} from a GPU to the host's memory; with megatron.device=cpu it is "
        "there already. Leave it out"
        for what in config.offload
        if what != "gradients"
    ]


def model_parallel_size(config: MegatronConfig) -> int:
    """How many ranks hold or run one copy of the model."""
    return config.tensor_parallel_size * config.pipeline_parallel_size * config.context_parallel_size


def data_parallel_size(config: MegatronConfig, world_size: int) -> int:
    """How many ranks train on different data."""
    return world_size // model_parallel_size(config)


def chunk_height(columns: int, device_type: str, elements: int | None = None) -> int:
    """Tokens whose logits over `columns` of the vocabulary exist at a time.

    A CPU likes chunks that stay in its caches, a GPU products large enough to be bound by arithmetic. Less than 128
    tokens would read the output weights once too often for either.
    """
    if elements is not None:
        return max(1, elements // columns)
    return max(128, (1 << 27 if device_type == "cuda" else 1 << 20) // columns)


def padded_vocabulary(architecture: Architecture, config: MegatronConfig) -> int:
    """Rows of the padded vocabulary: the same in every layout whose TP divides the multiple, so checkpoints reshard."""
    return architecture.padded_vocab(lcm(config.vocabulary_multiple, config.tensor_parallel_size))


def _common(architecture: Architecture) -> int:
    return gcd(architecture.num_kv_heads, architecture.num_heads, architecture.ffn_size)


def _divisors(number: int) -> list[int]:
    return [divisor for divisor in range(1, number + 1) if number % divisor == 0]


def _listed(numbers: list[int]) -> str:
    return " or ".join(map(str, numbers)) if len(numbers) < 3 else ", ".join(map(str, numbers))
