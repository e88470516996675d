"""From `conf/` and the command line to one frozen configuration, or to one message with everything that is wrong.

Hydra composes the YAML files that were chosen, stages inherit, and the schema validates. After this no DictConfig
exists.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, TypeAlias, overload

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import InterpolationResolutionError, OmegaConfBaseException

from nemo_prorl.config.evaluate import EvaluateConfig
from nemo_prorl.config.folder import conf_folder
from nemo_prorl.config.inheritance import inherit_stages, merged
from nemo_prorl.config.overrides import understand, unknown_keys, unknown_names
from nemo_prorl.config.paths import default_tree
from nemo_prorl.config.prepare import PrepareConfig
from nemo_prorl.config.problems import MISSING, Problems
from nemo_prorl.config.schema import ProRLConfig, SFTConfig
from nemo_prorl.errors import ConfigError

Root = Literal["train", "sft", "prepare", "evaluate"]
Schema: TypeAlias = ProRLConfig | SFTConfig | PrepareConfig | EvaluateConfig
SCHEMAS: Mapping[Root, type[Schema]] = {
    "train": ProRLConfig,
    "sft": SFTConfig,
    "prepare": PrepareConfig,
    "evaluate": EvaluateConfig,
}
# What is typed before the settings, for messages.
COMMANDS: Mapping[Root, str] = {"train": "train", "sft": "sft", "prepare": "data prepare", "evaluate": "evaluate"}

# What Hydra, OmegaConf and the YAML reader raise for files and overrides that they can't use.
COMPOSITION_ERRORS = (HydraException, OmegaConfBaseException, yaml.YAMLError, AssertionError, TypeError, ValueError)


@overload
def load_config(root: Literal["train"], overrides: Sequence[str] = ()) -> ProRLConfig: ...
@overload
def load_config(root: Literal["sft"], overrides: Sequence[str] = ()) -> SFTConfig: ...
@overload
def load_config(root: Literal["prepare"], overrides: Sequence[str] = ()) -> PrepareConfig: ...
@overload
def load_config(root: Literal["evaluate"], overrides: Sequence[str] = ()) -> EvaluateConfig: ...
def load_config(root: Root, overrides: Sequence[str] = ()) -> Schema:
    """The configuration of a command: conf/<root>.yaml with what it chooses, then `overrides`.

    Raises:
        ConfigError: everything that is wrong, each with the path the user would type, what was found and what is
            allowed.
    """
    schema = SCHEMAS[root]
    typed = understand(overrides, conf_folder())
    if typed.problems:  # what else is wrong depends on choices that can't be made
        Problems(schema, typed.problems + unknown_keys(typed.values, schema)).raise_if_any(COMMANDS[root])
    stated = stated_values(root, typed.groups)
    misnamed = unknown_names(typed.values, schema, stated)
    problems = Problems(schema, list(misnamed.values()))
    if values := [value.text for value in typed.values if value not in misnamed]:
        stated = stated_values(root, typed.groups + values)
    config = _validated(schema, stated, problems)
    problems.raise_if_any(COMMANDS[root])
    assert config is not None
    return config


def stated_values(root: Root, hydra_overrides: Sequence[str]) -> dict[str, Any]:
    """What the YAML files and Hydra's own kind of overrides state, not yet resolved, inherited or validated.

    Raises:
        ConfigError: Hydra can't compose it.
    """
    try:
        with initialize_config_dir(config_dir=str(conf_folder()), version_base=None):
            composed = compose(root, list(hydra_overrides))
    except COMPOSITION_ERRORS as error:
        reason = _in_brief(error)
        if found := re.match(r"Could not override '([^']+)'", reason):
            reason = f"it doesn't choose from conf/{found[1]}; conf/{root}.yaml lists what it chooses from"
        raise ConfigError(f"the settings of prorl {COMMANDS[root]} can't be composed: {reason}") from error
    return _container(composed, resolve=False)


def _validated(schema: type[Schema], stated: dict[str, Any], problems: Problems[Schema]) -> Schema | None:
    values = _resolved(stated, schema, problems)
    recipe = values.get("recipe")
    if isinstance(recipe, Mapping):
        values = {**values, "recipe": inherit_stages(recipe)}
    return problems.validate(values, recipe if isinstance(recipe, Mapping) else {})


def _resolved(stated: dict[str, Any], schema: type[Schema], problems: Problems[Schema]) -> dict[str, Any]:
    """`stated` with every ${...} replaced. Defaults count as stated, so ${run.seed} works where no file says it."""
    config = OmegaConf.create(merged(default_tree(schema), stated))
    while True:
        try:
            _container(config, resolve=True)
            break
        except InterpolationResolutionError as error:
            problems.add(str(error.full_key), _in_brief(error))
            error.parent_node[error.key] = MISSING  # not by its path: names may have dots in them
    # Only what was stated is validated: a default that a file didn't touch is the field's own.
    resolved: dict[str, Any] = _only(_container(config, resolve=True), stated)
    return resolved


def _only(values: Any, stated: Any) -> Any:
    """The entries of `values` that `stated` has too."""
    if isinstance(values, Mapping) and isinstance(stated, Mapping):
        return {key: _only(values[key], stated[key]) for key in stated}
    return values


def _container(config: DictConfig, *, resolve: bool) -> dict[str, Any]:
    container: Any = OmegaConf.to_container(config, resolve=resolve)
    return {str(key): value for key, value in container.items()}


def _in_brief(error: Exception) -> str:
    """The first line that says something; Hydra adds its search path, OmegaConf the state of its node."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__
