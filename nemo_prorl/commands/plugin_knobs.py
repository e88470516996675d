"""The plug-ins that settings choose from, and their knobs: their own keyword-only arguments."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from nemo_prorl.algorithm.advantage import ADVANTAGES
from nemo_prorl.algorithm.correction import CORRECTIONS
from nemo_prorl.algorithm.objective import OBJECTIVES
from nemo_prorl.algorithm.reduction import AGGREGATIONS
from nemo_prorl.algorithm.shaping import SHAPINGS
from nemo_prorl.config.reference import Setting, default_as_typed, kind_of
from nemo_prorl.data.prepare.converters import CONVERTERS
from nemo_prorl.data.sources import SOURCES
from nemo_prorl.data.sources.demonstrations import DEMONSTRATIONS
from nemo_prorl.errors import ConfigError
from nemo_prorl.plugins import knobs_of, resolve
from nemo_prorl.rollout.engine import ROLLOUT_ENGINES

TABLES: Mapping[str, Mapping[str, str]] = {
    "loss.advantage": ADVANTAGES,
    "loss.objective": OBJECTIVES,
    "loss.aggregation": AGGREGATIONS,
    "loss.sampler_correction": CORRECTIONS,
    "rollout": ROLLOUT_ENGINES,
    "recipe.stages.<stage>.shaping.<label>": SHAPINGS,
    "data.sources.<source>": SOURCES,
    "data.held_out.<set>": SOURCES,
    "sft.source": DEMONSTRATIONS,
    "sources.<source>": CONVERTERS,
    "quality.evaluation.<set>": SOURCES,
    "benchmarks.<set>": SOURCES,
}


class Plugin(NamedTuple):
    """One name that `setting`.name may have. `meaning`: the first sentence of its own docstring."""

    setting: str
    name: str
    meaning: str
    knobs: tuple[Setting, ...]


def plugins(paths: Sequence[str] = tuple(TABLES)) -> Iterator[Plugin]:
    """The plug-ins of the settings that are one of `paths`, or below one."""
    for setting, table in TABLES.items():
        if any(setting == path or setting.startswith(path + ".") for path in paths):
            for name in table:
                yield _plugin(setting, name, table)


def _plugin(setting: str, name: str, table: Mapping[str, str]) -> Plugin:
    try:
        target = resolve(name, table, setting)
    except ConfigError:
        return Plugin(setting, name, "needs a package that isn't installed here", ())
    meaning = " ".join((inspect.getdoc(target) or "").partition("\n\n")[0].split())
    return Plugin(setting, name, meaning, tuple(_knob(setting, knob) for knob in knobs_of(target)))


def _knob(setting: str, knob: inspect.Parameter) -> Setting:
    return Setting(
        path=f"{setting}.{knob.name}",
        kind=kind_of(knob.annotation),
        default=None if knob.default is knob.empty else default_as_typed(knob.default),
        allowed="",
        meaning="",
    )
