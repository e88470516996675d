"""Whether the plug-ins that a configuration names exist and take the knobs they are given: asked before anything is
built, so that all of it is said at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from nemo_prorl.algorithm.advantage import ADVANTAGES
from nemo_prorl.algorithm.correction import CORRECTIONS
from nemo_prorl.algorithm.objective import OBJECTIVES
from nemo_prorl.algorithm.reduction import AGGREGATIONS
from nemo_prorl.algorithm.shaping import SHAPINGS
from nemo_prorl.config.choice import Choice, as_knobs
from nemo_prorl.config.evaluate import EvaluateConfig
from nemo_prorl.config.prepare import PrepareConfig
from nemo_prorl.config.schema import ProRLConfig, SFTConfig
from nemo_prorl.data.prepare.converters import CONVERTERS
from nemo_prorl.data.sources import SOURCES
from nemo_prorl.data.sources.demonstrations import DEMONSTRATIONS
from nemo_prorl.errors import ConfigError, SettingsError
from nemo_prorl.plugins import configured
from nemo_prorl.rollout.engine import ROLLOUT_ENGINES


def check_choices(config: ProRLConfig | SFTConfig | PrepareConfig | EvaluateConfig) -> None:
    """
    Raises:
        ConfigError: every plug-in that is unknown or can't be imported here, and every knob that one doesn't have or
            that is out of its range; a SettingsError when every rank finds the same.
    """
    problems: list[ConfigError] = []
    for choice, known, setting in _choices(config):
        try:
            configured(as_knobs(choice), known, setting)
        except ConfigError as error:
            problems.append(error)
    if problems:
        same_everywhere = all(isinstance(problem, SettingsError) for problem in problems)
        raise (SettingsError if same_everywhere else ConfigError)("\n".join(map(str, problems)))


def _choices(
    config: ProRLConfig | SFTConfig | PrepareConfig | EvaluateConfig,
) -> Iterator[tuple[Choice, Mapping[str, str], str]]:
    if isinstance(config, PrepareConfig):
        for name, published in config.sources.items():
            yield published, CONVERTERS, f"sources.{name}"
        for name, evaluation in config.quality.evaluation.items():
            yield evaluation, SOURCES, f"quality.evaluation.{name}"
        return
    if isinstance(config, EvaluateConfig):
        yield config.rollout, ROLLOUT_ENGINES, "rollout"
        for name, benchmark in config.benchmarks.items():
            yield benchmark, SOURCES, f"benchmarks.{name}"
        return
    if isinstance(config, SFTConfig):
        yield config.sft.source, DEMONSTRATIONS, "sft.source"
        return
    yield config.loss.advantage, ADVANTAGES, "loss.advantage"
    yield config.loss.objective, OBJECTIVES, "loss.objective"
    if config.loss.sampler_correction is not None:
        yield config.loss.sampler_correction, CORRECTIONS, "loss.sampler_correction"
    yield config.loss.aggregation, AGGREGATIONS, "loss.aggregation"
    yield config.rollout, ROLLOUT_ENGINES, "rollout"
    for stage_name, stage in config.recipe.stages.items():
        for name, shaping in stage.shaping.items():
            if shaping is not None:
                yield shaping, SHAPINGS, f"recipe.stages.{stage_name}.shaping.{name}"
    for group, sources in (("sources", config.data.sources), ("held_out", config.data.held_out)):
        for name, source in sources.items():
            yield source, SOURCES, f"data.{group}.{name}"
