"""Every YAML file of conf/ composes and validates, in every combination that the root files offer."""

from itertools import product

import pytest
import yaml
from reasoning_gym.factory import DATASETS

from nemo_prorl.commands.choices import check_choices
from nemo_prorl.config.folder import conf_folder, options_in
from nemo_prorl.config.load import SCHEMAS, load_config
from nemo_prorl.data.sources.reasoning_gym import NOT_REPRODUCIBLE
from tests.house.settings import filled_in
from tests.house.source import ROOT

CONF = ROOT / "conf"
OPTIONS = options_in([CONF])
ROOTS = sorted(SCHEMAS)


def groups_of(root: str) -> list[str]:
    """What a root file chooses from, in its order."""
    defaults = yaml.safe_load((CONF / f"{root}.yaml").read_text())["defaults"]
    return [group for entry in defaults if isinstance(entry, dict) for group in entry]


def combinations(root: str) -> list[list[str]]:
    """Every recipe (or cold start) with every data mixture, and every other file by itself.

    Presets for GPUs are composed and planned with the models they are for in tests/commands/test_presets.py.
    """
    *groups, last = groups_of(root)
    mixed = [group for group in groups if group == "data"]
    pairs = [
        [f"{last}={name}", f"{group}={other}"]
        for group in mixed
        for name, other in product(OPTIONS[last], OPTIONS[group])
    ]
    return pairs + [[f"{group}={name}"] for group in (*groups, last) for name in OPTIONS[group] if "_x" not in name]


def test_the_checkout_is_read_in_tests():
    assert conf_folder() == CONF


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_file_composes_as_it_is(root):
    load_config(root, filled_in(root, []))


@pytest.mark.parametrize(("root", "overrides"), [(root, pair) for root in ROOTS for pair in combinations(root)])
def test_every_combination_is_a_valid_configuration(root, overrides):
    check_choices(load_config(root, filled_in(root, overrides)))


@pytest.mark.parametrize("name", OPTIONS["stage"])
def test_a_stage_file_stands_alone_and_bears_its_name(name):
    config = load_config("train", filled_in("train", [f"stage=[{name}]", "recipe=prorl"]))
    assert list(config.recipe.stages) == [name]


def test_every_yaml_file_can_be_chosen():
    chosen = {group for root in ROOTS for group in groups_of(root)} | {"stage", "scale"}
    assert OPTIONS.keys() == chosen
    assert sorted(file.stem for file in CONF.glob("*.yaml")) == ROOTS
    assert all(file.suffix == ".yaml" for file in CONF.rglob("*") if file.is_file())


def test_reasoning_gym_knows_every_task_that_is_named():
    for name in OPTIONS["data"]:
        config = load_config("train", filled_in("train", [f"data={name}"]))
        for source in (*config.data.sources.values(), *config.data.held_out.values()):
            if source.name == "reasoning_gym":
                tasks = source.as_mapping()["tasks"]
                datasets = {knobs.get("name", task) for task, knobs in tasks.items()}
                assert not datasets - set(DATASETS)
                assert not datasets & set(NOT_REPRODUCIBLE)
