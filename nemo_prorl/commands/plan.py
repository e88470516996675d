"""What a run would do, said before it is done: `--dry-run` prints this. No model is built, Megatron isn't loaded."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence

from nemo_prorl.commands.choices import check_choices
from nemo_prorl.commands.engine_memory import RolloutKnobs, engine_memory, rollout_knobs
from nemo_prorl.config.schema import MegatronConfig, ProRLConfig, SFTConfig
from nemo_prorl.config.stage import StageConfig
from nemo_prorl.megatron.chips import CHIPS
from nemo_prorl.megatron.layout import (
    data_parallel_size,
    fitting_architecture,
    model_parallel_size,
    padded_vocabulary,
)
from nemo_prorl.megatron.memory import RUNTIME_BYTES, MemoryEstimate, Phase, RankMemory
from nemo_prorl.weights.architecture import Architecture
from nemo_prorl.world import world_size_from_environment

Row = tuple[str, ...]
NO_VALIDATION = "nothing, so there is no validation, and rules that look at it (plateau, drop) stay silent"
STAGE_HEADS = (
    *("stage", "steps", "prompts/step", "samples/prompt", "sequences/step", "updates/step", "sequences/update"),
    *("context", "tokens/step", "temperature", "KL weight", "shaping", "left out", "ends early"),
    *("reset when", "reset what"),
)


def training_plan(config: ProRLConfig, environment: Mapping[str, str] = os.environ) -> str:
    """The plan of `prorl train`. `environment` tells the number of ranks (WORLD_SIZE, as torchrun sets it).

    Raises:
        ConfigError: a plug-in that can't be had, or a layout that doesn't fit; the same as the run itself would raise.
        WeightsError: there is no usable model in model.path.
    """
    check_choices(config)
    stages = config.recipe.stages
    longest = max(_row_tokens(config, stage) for stage in stages.values())
    steps = sum(stage.steps for stage in stages.values())
    updates = sum(stage.steps * _updates_per_step(stage) for stage in stages.values())
    most = "at most " if any(_ends(stage) != "-" for stage in stages.values()) else ""
    sections = [
        _run(config, f"{most}{steps:,} steps, {updates:,} updates, in {_count(len(stages), 'stage')}"),
        _table([STAGE_HEADS, *(_stage(name, stage, _row_tokens(config, stage)) for name, stage in stages.items())]),
        _rows(
            [
                ("training data", ", ".join(config.data.sources)),
                ("held out", ", ".join(config.data.held_out) or NO_VALIDATION),
                ("validation", _validation(config)),
                ("prompts", f"up to {config.data.max_prompt_tokens:,} tokens; longer ones: {config.data.long_prompts}"),
                ("dynamic sampling", _dynamic_sampling(config)),
                ("rollout", config.rollout.name),
                ("advantage", config.loss.advantage.name),
                ("loss", f"{config.loss.objective.name}, {config.loss.aggregation.name}, KL by {config.loss.kl.value}"),
            ]
        ),
        _engine(
            config,
            environment,
            longest_row=longest,
            reference=any(stage.kl_weight > 0 for stage in stages.values()),
            base=config.loss.kl.base_every_steps is not None,
            rollout=rollout_knobs(config.rollout),
        ),
    ]
    return "\n\n".join(sections)


def supervised_plan(config: SFTConfig, environment: Mapping[str, str] = os.environ) -> str:
    """The plan of `prorl sft`; see `training_plan`."""
    check_choices(config)
    sft = config.sft
    tokens = sft.sequences_per_step * sft.max_sequence_tokens
    sections = [
        _run(config, f"{sft.steps:,} steps, one update each"),
        _rows(
            [
                ("demonstrations", sft.source.name),
                ("sequences a step", f"{sft.sequences_per_step:,} of up to {sft.max_sequence_tokens:,} tokens"),
                ("tokens a step", f"up to {tokens:,}"),
            ]
        ),
        _engine(config, environment, longest_row=sft.max_sequence_tokens),
    ]
    return "\n\n".join(sections)


def _run(config: ProRLConfig | SFTConfig, what: str) -> str:
    return _rows([("run", f"{what}; seed {config.run.seed}"), ("folder", config.run.dir), ("model", config.model.path)])


def _row_tokens(config: ProRLConfig, stage: StageConfig) -> int:
    """The longest prompt with the longest response."""
    if stage.max_response_tokens is None:
        return stage.context_tokens
    return min(stage.context_tokens, config.data.max_prompt_tokens + stage.max_response_tokens)


def _stage(name: str, stage: StageConfig, row_tokens: int) -> Row:
    sequences = stage.prompts_per_step * stage.samples_per_prompt
    return (
        name,
        f"{stage.steps:,}",
        f"{stage.prompts_per_step:,}",
        f"{stage.samples_per_prompt:,}",
        f"{sequences:,}",
        f"{_updates_per_step(stage):,}",
        f"{stage.prompts_per_update * stage.samples_per_prompt:,}",
        f"{stage.context_tokens:,}",
        f"<= {sequences * row_tokens:,}",
        f"{stage.temperature:g}",
        f"{stage.kl_weight:g}",
        _listed(shaping.name for shaping in stage.shaping.values() if shaping is not None),
        _listed(stage.exclude_domains),
        _ends(stage),
        _reset_when(stage),
        _reset_what(stage),
    )


def _ends(stage: StageConfig) -> str:
    """What may end it before its steps are done."""
    return _listed(name for name in ("plateau", "drop", "response_jump", "max_hours") if getattr(stage.end, name))


def _reset_when(stage: StageConfig) -> str:
    reset = stage.reset
    when = {
        "entry": reset.at_entry,
        f"{reset.every_steps} steps": reset.every_steps,
        "plateau": reset.plateau,
        "drop": reset.drop,
        f"KL > {reset.kl_limit}": reset.kl_limit,
    }
    return _listed(name for name, is_due in when.items() if is_due)


def _reset_what(stage: StageConfig) -> str:
    parts = [name for name in ("reference", "optimizer") if getattr(stage.reset, name)]
    return _listed(parts) + (" to the best" if stage.reset.to == "best" else "")


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "-"


def _updates_per_step(stage: StageConfig) -> int:
    return stage.prompts_per_step // stage.prompts_per_update


def _validation(config: ProRLConfig) -> str:
    """Each set's weight and cadence, and how often any is validated."""
    every = config.validation.every_steps
    when = f"every {every} steps and after the last" if every else "after the last step"
    sets = [
        f"{name} (weight {one.weight:g}{f', in one of {one.every_validations}' if one.every_validations > 1 else ''})"
        for name, one in config.data.held_out.items()
    ]
    return f"{when}: {', '.join(sets)}" if sets else "none"


def _dynamic_sampling(config: ProRLConfig) -> str:
    sampling = config.sampling
    if not sampling.drop_equal_groups:
        return "off: every group is trained on"
    return f"up to {_count(sampling.max_rounds, 'round')} until enough groups teach, then: {sampling.on_exhausted}"


def _engine(
    config: ProRLConfig | SFTConfig,
    environment: Mapping[str, str],
    *,
    longest_row: int,
    reference: bool = False,
    base: bool = False,
    rollout: RolloutKnobs | None = None,
) -> str:
    megatron = config.megatron
    ranks, told = _ranks(megatron, environment)
    architecture = fitting_architecture(config, ranks)
    data_parallel = data_parallel_size(megatron, ranks)
    engine, besides = engine_memory(rollout, architecture, longest_row, megatron) if rollout else (None, "")
    memory = MemoryEstimate(architecture, megatron, data_parallel).of_step(
        reference=reference, base=base, engine=engine
    )
    return _rows(
        [
            ("layout", _layout(megatron, ranks) + told),
            ("device", f"{megatron.chip or megatron.device}, {_precision(megatron)}"),
            ("parameters", _parameters(architecture, padded_vocabulary(architecture, megatron))),
            (
                "microbatch",
                f"up to {megatron.max_tokens_per_microbatch:,} tokens a rank, of rows of up to {longest_row:,}"
                f"{'' if megatron.packing else ', padded'}",
            ),
            *_memory(memory, megatron, besides),
        ]
    )


def _layout(megatron: MegatronConfig, ranks: int) -> str:
    sizes = {
        "tensor": megatron.tensor_parallel_size,
        "pipeline": megatron.pipeline_parallel_size,
        "context": megatron.context_parallel_size,
        "data": data_parallel_size(megatron, ranks),
    }
    cuts = " x ".join(f"{size} {name}" for name, size in sizes.items())
    return f"{_count(ranks, 'rank')} = {cuts} parallel"


def _ranks(megatron: MegatronConfig, environment: Mapping[str, str]) -> tuple[int, str]:
    """How many ranks the plan is for, and what to say about it."""
    if "WORLD_SIZE" in environment or "SLURM_NTASKS" in environment:
        return world_size_from_environment(environment), ""
    fewest = model_parallel_size(megatron)
    return fewest, " (the fewest that fit; --world-size plans for more)"


def _parameters(architecture: Architecture, padded_vocab: int) -> str:
    tied = "tied" if architecture.tied_embeddings else "untied"
    return (
        f"{architecture.parameter_count:,} ({architecture.family}, {_count(architecture.num_layers, 'layer')}, "
        f"{tied} embeddings of {architecture.vocab_size:,} tokens, padded to {padded_vocab:,})"
    )


def _precision(megatron: MegatronConfig) -> str:
    if megatron.precision != "fp8_hybrid":
        return megatron.precision
    fp8 = megatron.fp8
    ends = f", {_count(fp8.bf16_end_layers, 'layer')} at either end in bf16" if fp8.bf16_end_layers else ""
    return f"fp8_hybrid, scaled {fp8.recipe}{ends}{', parameters in 8 bits' if fp8.parameters else ''}"


def _memory(memory: RankMemory, megatron: MegatronConfig, besides: str) -> Iterator[tuple[str, str]]:
    fullest = memory.fullest
    yield "memory of a rank", f"about {_size(fullest.total)} at its fullest, in {fullest.name}: {_parts(fullest)}"
    yield "", ", ".join(f"{phase.name} {_size(phase.total)}" for phase in memory)
    if besides:
        yield "", f"besides: {besides}"
    if megatron.chip is not None:
        usable = CHIPS[megatron.chip].usable_bytes
        fits = "fits" if fullest.total + RUNTIME_BYTES <= usable else "DOES NOT FIT"
        yield "", f"{fits} into the {_size(usable)} of {megatron.chip}, with about {_size(RUNTIME_BYTES)} for libraries"


def _parts(phase: Phase) -> str:
    return ", ".join(f"{name} {_size(size)}" for name, size in phase.parts.items() if size)


def _size(count: int) -> str:
    return f"{count / 2**30:,.1f} GiB" if count >= 2**30 else f"{count / 2**20:,.1f} MiB"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _rows(rows: Iterable[tuple[str, str]]) -> str:
    rows = list(rows)
    width = max(len(label) for label, _ in rows)
    return "\n".join(f"{label:<{width}}  {text}".rstrip() for label, text in rows)


def _table(rows: Sequence[Row]) -> str:
    """Each of `rows` as a column, for a stage has much to say. What is the same in all of them stands once."""
    lines = [line if len(set(line[1:])) > 1 else line[:2] for line in zip(*rows, strict=True)]
    differing = [line for line in lines if len(line) > 2] or lines
    widths = [max(len(line[column]) for line in differing) for column in range(len(differing[0]))]
    widths[0] = max(len(line[0]) for line in lines)
    return "\n".join(
        "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines
    )
